"""How this program was called, for commands that can be pasted."""

import os
import shlex
import shutil
import sys
from contextlib import suppress


def here() -> str:
    """The current directory; empty where somebody has removed it."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def program() -> str:
    """The words with which every command of it begins."""
    called = sys.argv[0]
    if not called.endswith(".py"):
        name = os.path.basename(called)
        found = shutil.which(name)
        with suppress(OSError):  # it may have been removed meanwhile
            called = name if found and os.path.samefile(found, called) else called
        return shlex.quote(called)
    python = sys.executable
    if python == shutil.which("python3"):
        python = "python3"
    else:
        with suppress(OSError):  # the directory may be gone
            relative = os.path.relpath(python)
            python = python if relative.startswith(os.pardir) else relative
    return shlex.join((python, called))


def program_line(*words: str) -> str:
    """A command of this program, to be pasted; one line however long."""
    return f"{program()} {shlex.join(words)}"
