"""Which programs a plan's set-up needs, and which of them are here."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
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
TOOLCHAINS = {
    "python": PYTHON,
    "node": "node",
    "git": "git",
    "c": "cc",
    "elixir": "elixir",
    "go": "go",
    "java": "java",
    "make": "make",
    "php": "php",
    "ruby": "ruby",
    "rust": "cargo",
}
"""What docker/build.sh can put into an image, and a program that each brings."""
_ASK_S = 10.0


def programs_of(tools: Iterable[str]) -> list[str]:
    """The programs of `setup.tools`, such as `node` for "Node.js 20"; unknown ones left out."""
    words = (re.split(r"[\s=@<>~^]+", tool.strip().lower())[0] for tool in tools)
    return list(dict.fromkeys(_PROGRAMS[word] for word in words if word in _PROGRAMS))


def missing_programs(tools: Iterable[str]) -> list[str]:
    return [name for name in programs_of(tools) if name != PYTHON and shutil.which(name) is None]


def installed_programs() -> dict[str, str]:
    """Those that are here of all that a plan may name; of toolchains with the version."""
    known = {*_PROGRAMS.values(), *TOOLCHAINS.values()}
    found = sorted(name for name in known if shutil.which(name) is not None)
    with ThreadPoolExecutor() as pool:
        return dict(zip(found, pool.map(_version, found), strict=True))


def _version(program: str) -> str:
    """Its first two numbers; empty where it tells none."""
    if program not in TOOLCHAINS.values():
        return ""
    try:
        asked = subprocess.run(  # noqa: S603
            [program, "version" if program == "go" else "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ASK_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\d+(\.\d+)?", asked.stdout.decode(errors="replace"))
    return found[0] if found else ""


def render_tools(programs: Mapping[str, str]) -> str:
    """The toolchains among installed `programs`, and those that are not there."""
    there = [f"{n} {programs[p]}".rstrip() for n, p in TOOLCHAINS.items() if p in programs]
    absent = [name for name, program in TOOLCHAINS.items() if program not in programs]
    return ", ".join(there) + (f"; not: {', '.join(absent)}" if absent else "")


def link_python(directory: Path) -> None:
    """`python` and `python3` in `directory`, whatever this machine calls them."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    interpreter = Path(sys.base_prefix) / "bin" / f"python{version}"
    if not interpreter.exists():
        interpreter = Path(getattr(sys, "_base_executable", sys.executable))
    for name in ("python", "python3"):
        directory.joinpath(name).symlink_to(interpreter.resolve())
