"""What of the project a worker needs, and a short name for exactly that code.

Images are built from these files and labelled with the digest, so that a mismatch of code and image
is noticed. Runs alone with the standard library: `python3 core/worker/source.py` prints the digest.
"""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE_ROOT = Path(__file__).resolve().parents[2]
ENTRIES = (
    "planner_agent.py",
    "executor_agent.py",
    "docker_planner.py",
    "docker_executor.py",
    "batch_executor.py",
)
ROOMS = ("core", "claude")
DIGEST_LENGTH = 16
_CACHED = (".pyc", ".pyo")


def worker_files(root: Path) -> tuple[str, ...]:
    """Sorted paths, relative to `root` and with slashes, of every file that a worker needs. Entries
    that are not there are left out; hidden files and caches do not count."""
    entries = [name for name in ENTRIES if (root / name).is_file()]
    below = [path.relative_to(root) for room in ROOMS for path in _files(root / room)]
    return tuple(sorted([*entries, *(path.as_posix() for path in below)]))


def source_digest(root: Path) -> str:
    """16 hex digits over the paths and contents of `worker_files`; modes and times do not count."""
    whole = hashlib.sha256()
    for name in worker_files(root):
        content = hashlib.sha256((root / name).read_bytes()).hexdigest()
        whole.update(f"{content}  {name}\0".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()[:DIGEST_LENGTH]


def _files(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name.startswith(".") or path.name == "__pycache__" or path.suffix in _CACHED:
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.is_file():
            yield path


def main(arguments: list[str], root: Path) -> int:
    """Print the digest of `root`, or its files one a line."""
    if arguments not in ([], ["--files"]):
        sys.stderr.write("usage: source.py [--files]\n")
        return 2
    lines = worker_files(root) if arguments else (source_digest(root),)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], SOURCE_ROOT))
