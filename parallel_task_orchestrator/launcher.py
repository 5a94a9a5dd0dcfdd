"""Starts the command line of an installed package.

The rooms have short names (`config`, `core`) that would collide in site-packages. So they are in a
private folder, or in the checkout of an editable install, which goes first on the path.
"""

import sys
from importlib import import_module
from pathlib import Path

PRIVATE_FOLDER = "_app"


def home(package: Path) -> Path:
    """Where orchestrator.py and the rooms are: the wheel's private folder, or the checkout."""
    private = package / PRIVATE_FOLDER
    return private if (private / "orchestrator.py").is_file() else package.parent


def main() -> int:
    """Run the command line with the arguments of this process and return its exit code."""
    sys.path.insert(0, str(home(Path(__file__).resolve().parent)))
    code: int = import_module("orchestrator").main()
    return code
