"""npm's packages, kept between runs by the digest of their content.

A project's code runs in the same place as npm and could forge what npm keeps, and npm leaves files
of a forged package behind although it notices. So no sandbox writes here: it sees the packages
read-only, and new ones are taken out of it afterwards if their digest is their name.
https://github.com/npm/cacache
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha512
from pathlib import Path

from core.wire import write_atomic
from core.workspace.confined import read_regular

_CONTENT = ".npm/_cacache/content-v2/sha512"
"""In a home; below it, a digest in hexadecimal is split after two and four digits."""
_DIGEST = re.compile(r"[0-9a-f]{128}")
_MOST = 5_000
_LARGEST_BYTES = 64 * 1024 * 1024
_PACKED = b"\x1f\x8b"  # gzip; what else npm keeps grows old


@dataclass(frozen=True, slots=True)
class PackageCache:
    root: Path

    def lend(self, home: Path, seen_as: str) -> None:
        """Have an npm with this `home` find the packages, which it sees below `seen_as`."""
        for name in self._names():
            place = home / _CONTENT / name[:2] / name[2:4] / name[4:]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(f"{seen_as}/{name}")

    def take(self, home: Path) -> None:
        """Keep the new packages of that npm, once all in the sandbox has ended. What cannot be read
        or written is left out."""
        for path in _regular_files(home / _CONTENT):
            name = "".join(path.parts[-3:])
            with suppress(OSError):
                data = read_regular(path, _LARGEST_BYTES)
                if data.startswith(_PACKED) and sha512(data).hexdigest() == name:
                    write_atomic(self.root / name, data)
        with suppress(OSError):
            self._prune()

    def _names(self) -> list[str]:
        return [name for name in os.listdir(self.root) if _DIGEST.fullmatch(name)]

    def _prune(self) -> None:
        """Remove the oldest."""
        if len(names := self._names()) > _MOST:
            paths = sorted(map(self.root.joinpath, names), key=lambda path: path.stat().st_mtime)
            for path in paths[:-_MOST]:
                path.unlink(missing_ok=True)


def open_package_cache(environ: Mapping[str, str], home: Path) -> PackageCache | None:
    """The one of this user; None where there can be none."""
    base = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    root = base / "parallel-task-orchestrator" / "packages" / "npm"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return PackageCache(root) if os.access(root, os.W_OK) else None


def _regular_files(content: Path) -> Iterator[Path]:
    """Those in their place. A link is none."""
    for directory, _, names in os.walk(content):
        if Path(directory).parent.parent == content:
            paths = (Path(directory, name) for name in names)
            yield from (path for path in paths if path.is_file() and not path.is_symlink())
