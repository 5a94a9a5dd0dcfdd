"""Which programs a plan's set-up needs, and which of them are here."""

import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

_PROGRAMS = {
    "bun": "bun",
    "c": "cc",
    "c++": "c++",
    "cargo": "cargo",
    "deno": "deno",
    "dotnet": "dotnet",
    "elixir": "elixir",
    "gcc": "gcc",
    "go": "go",
    "golang": "go",
    "java": "java",
    "jdk": "javac",
    "make": "make",
    "maven": "mvn",
    "node": "node",
    "node.js": "node",
    "nodejs": "node",
    "npm": "npm",
    "php": "php",
    "pnpm": "pnpm",
    "python": "python3",
    "python3": "python3",
    "ruby": "ruby",
    "rust": "cargo",
    "uv": "uv",
    "yarn": "yarn",
}
PYTHON = "python3"


def programs_of(tools: Iterable[str]) -> list[str]:
    """The programs of `setup.tools`, such as `node` for "Node.js 20"; unknown ones left out."""
    words = (re.split(r"[\s=@<>~^]+", tool.strip().lower())[0] for tool in tools)
    return list(dict.fromkeys(_PROGRAMS[word] for word in words if word in _PROGRAMS))


def missing_programs(tools: Iterable[str]) -> list[str]:
    return [name for name in programs_of(tools) if name != PYTHON and shutil.which(name) is None]


def link_python(directory: Path) -> None:
    """`python` and `python3` in `directory`, whatever this machine calls them."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    interpreter = Path(sys.base_prefix) / "bin" / f"python{version}"
    if not interpreter.exists():
        interpreter = Path(getattr(sys, "_base_executable", sys.executable))
    for name in ("python", "python3"):
        directory.joinpath(name).symlink_to(interpreter.resolve())
