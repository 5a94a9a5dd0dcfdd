"""Which files of a base are not laid out for executors, and why. They keep their place in the
result; nobody sees or changes them."""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import translate
from itertools import accumulate

from core.paths import fold, path_defect
from engine.repository.tree import kind_of

LARGEST_BYTES = 5 * 1024 * 1024
"""A larger file is data or a build's output: no model reads it, and every job would carry it."""
_LFS = b"version https://git-lfs.github.com/spec/v1\n"
_LARGEST_POINTER_BYTES = 1024  # https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_SECRET_NAMES = (
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".pgpass", ".pypirc", ".htpasswd"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".git-credentials", ".dockercfg"),
    *("credentials", "credentials.json", "client_secret*.json", "service-account*.json"),
    *("*.tfstate", "*.tfstate.backup", "terraform.tfvars", "secrets.json", "secrets.y*ml"),
)
_NO_SECRETS = (
    "*.example",
    "*.sample",
    "*.template",
    "*.dist",
    "*.pub",
    "example.env",
    "sample.env",
)
_SECRET_NAME, _NO_SECRET = (
    re.compile("|".join(map(translate, patterns))) for patterns in (_SECRET_NAMES, _NO_SECRETS)
)
# Files that may hold a password or a token, by what says that they do
_TOKENS = {".npmrc": (b"_auth", b"_password"), ".yarnrc.yml": (b"npmAuth",), "pip.conf": (b"@",)}
_KEY = b"-----BEGIN"
_SECRET = "looks like a secret"  # noqa: S105


@dataclass(frozen=True, slots=True)
class LeftOut:
    """`path` as a person may see it: see `printable`."""

    path: str
    why: str


def printable(path: str) -> str:
    """A name of any bytes, with what cannot be printed escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in path)


@dataclass(slots=True)
class Selection:
    """Which files are laid out, in the order asked for: of names that mean one file on some system,
    the first. `others` are the rest, with why."""

    others: list[LeftOut] = field(default_factory=list)
    _files: dict[str, str] = field(default_factory=dict)
    _directories: dict[str, str] = field(default_factory=dict)
    _good: set[str] = field(default_factory=set)

    def takes(self, path: str, mode: int, size: int) -> bool:
        """By what is known without its content; `mode` is as git or the file system has it."""
        if not stat.S_ISREG(mode):
            return self._decide(path, kind_of(mode))
        why = _name_secret(path) or _size_reason(size) or self._name_reason(path)
        return self._decide(path, why)

    def takes_content(self, path: str, data: bytes) -> bool:
        return self._decide(path, _content_reason(path, data))

    def _decide(self, path: str, why: str | None) -> bool:
        if why is not None:
            self.others.append(LeftOut(printable(path), why))
        return why is None

    def _name_reason(self, path: str) -> str | None:
        """Why the name cannot be used; None, and it is taken, when it can."""
        if (defect := path_defect(path)) is not None:
            return f"its name {defect}"
        new = [directory for directory in _directories(path) if directory not in self._good]
        for directory in new:
            key = fold(directory)
            other = self._files.get(key) or self._directories.get(key, directory)
            if other != directory or key in self._files:
                return f"the name of its directory collides with {other!r}"
        key = fold(path)
        if taken := self._files.get(key) or self._directories.get(key):
            return f"its name collides with {taken!r}"
        self._files[key] = path
        self._directories.update((fold(directory), directory) for directory in new)
        self._good.update(new)
        return None


def _name_secret(path: str) -> str | None:
    name = path.rpartition("/")[2].lower()
    return _SECRET if _SECRET_NAME.match(name) and not _NO_SECRET.match(name) else None


def _content_reason(path: str, data: bytes) -> str | None:
    if len(data) <= _LARGEST_POINTER_BYTES and data.startswith(_LFS):
        return "an LFS pointer"
    signs = _TOKENS.get(path.rpartition("/")[2].lower(), ())
    if any(sign in data for sign in signs):
        return _SECRET
    head = data[:200].lstrip()
    return _SECRET if head.startswith(_KEY) and b"PRIVATE KEY" in head.split(b"\n")[0] else None


def _size_reason(size: int) -> str | None:
    limit = f"larger than {LARGEST_BYTES // 1024**2} MiB"
    return f"{limit} ({size / 1024**2:.1f} MiB)" if size > LARGEST_BYTES else None


def _directories(path: str) -> Iterator[str]:
    return accumulate(path.split("/")[:-1], "{}/{}".format)
