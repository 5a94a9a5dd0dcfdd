"""Start the program: python3 -m shop_app"""

from __future__ import annotations

import sys

from shop_app.cli import main
from shop_app.web import serve

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], serve))
