"""Start the program: python3 -m todo_app"""

from __future__ import annotations

import sys

from todo_app.cli import main
from todo_app.web import serve

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], serve))
