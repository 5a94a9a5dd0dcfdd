"""Where a project's commands run, so that nothing of the user's is at risk.

Bubblewrap shows them the system read-only, and of the rest only the project: no home, no keys, no
network but a loopback of their own. See https://github.com/containers/bubblewrap.
"""

import os
import shlex
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt")
_ETC = (
    "alternatives",
    "ca-certificates",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "pki",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
)
_ETC_OF_NETWORK = ("hosts", "nsswitch.conf", "resolv.conf")
_USER = 1000
_TMP_BYTES = 512 * 1024 * 1024
_TRY_S = 20.0
PROJECT, HOME, _TOOLS = "/project", "/home/project", "/tools"


@dataclass(frozen=True, slots=True)
class Places:
    """On this machine: the copy of the `project`, a `home` for its commands, and `bin`, whose
    programs come before those of the system."""

    project: Path
    home: Path
    bin: Path


class Sandbox(ABC):
    name: str
    """As it reads after "in"."""
    has_own_network: bool
    """Whether its loopback is another than this machine's."""

    @abstractmethod
    def wrap(self, command: str, places: Places, *, network: bool) -> str:
        """The shell command that runs `command` in the project's root inside."""


class Bubblewrap(Sandbox):
    """`programs` are directories with programs that lie outside of the system's own."""

    name = "a sandbox of bubblewrap"
    has_own_network = True

    def __init__(self, programs: Iterable[Path] = ()) -> None:
        self._programs = tuple(dict.fromkeys(programs))

    def wrap(self, command: str, places: Places, *, network: bool) -> str:
        inside = ["/bin/sh", "-c", command]
        return shlex.join(["exec", *self._arguments(places, network), "--", *inside])

    def _arguments(self, places: Places, network: bool) -> Iterator[str]:
        yield from ("bwrap", "--unshare-all", "--unshare-user", "--die-with-parent")
        yield from ("--new-session", "--uid", str(_USER), "--gid", str(_USER), "--clearenv")
        if network:
            yield "--share-net"
        for place in _SYSTEM:
            if os.path.islink(place):
                yield from ("--symlink", os.readlink(place), place)
            else:
                yield from ("--ro-bind-try", place, place)
        for name in (*_ETC, *(_ETC_OF_NETWORK if network else ())):
            yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
        for root in dict.fromkeys(map(_root_of, self._programs)):
            yield from ("--ro-bind", str(root), str(root))
        yield from ("--proc", "/proc", "--dev", "/dev")
        yield from ("--size", str(_TMP_BYTES), "--tmpfs", "/tmp")  # noqa: S108 - its own
        yield from ("--bind", str(places.project), PROJECT, "--bind", str(places.home), HOME)
        yield from ("--ro-bind", str(places.bin), _TOOLS, "--chdir", PROJECT)
        path = [_TOOLS, *map(str, self._programs), os.defpath.strip(":")]
        environ = build_environment(f"{HOME}/.venv/bin:{':'.join(path)}", HOME)
        for name, value in (environ | {"TMPDIR": "/tmp", "TOOLS": _TOOLS}).items():  # noqa: S108 - its own
            yield from ("--setenv", name, value)


class Bare(Sandbox):
    """No sandbox: for projects that are ours, and where the user asks for it."""

    name = "no sandbox"
    has_own_network = False

    def wrap(self, command: str, places: Places, *, network: bool) -> str:
        home = str(places.home)
        path = f"{home}/.venv/bin:{places.bin}:{os.environ.get('PATH', os.defpath)}"
        environ = [f"{n}={v}" for n, v in build_environment(path, home).items()]
        return shlex.join(["exec", "env", *environ, "/bin/sh", "-c", command])


def build_environment(path: str, home: str) -> dict[str, str]:
    return {
        "PATH": path,
        "HOME": home,
        "LANG": "C.UTF-8",
        "CI": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "npm_config_update_notifier": "false",
        "npm_config_fund": "false",
    }


def find_bubblewrap(tools: Iterable[str]) -> Bubblewrap | str:
    """The sandbox of this machine, with the programs `tools` in it; or why there is none."""
    if sys.platform != "linux" or shutil.which("bwrap") is None:
        return "bubblewrap is not installed here"
    found = Bubblewrap(programs_outside(tools))
    try:
        tried = subprocess.run(
            ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--unshare-user", "true"],  # noqa: S607
            capture_output=True,
            timeout=_TRY_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"bubblewrap cannot be run: {exc}"
    if tried.returncode:
        return f"bubblewrap does not work here: {tried.stderr.decode(errors='replace').strip()}"
    return found


def programs_outside(tools: Iterable[str]) -> list[Path]:
    """The directories of `tools` that lie outside of the system's own, such as those of nvm."""
    interpreter = Path(sys.base_prefix).resolve() / "bin"
    found = [] if _is_of_system(interpreter) else [interpreter]
    for tool in tools:
        if (path := shutil.which(tool)) is not None:
            directory = Path(path).resolve().parent
            if not _is_of_system(directory) and directory not in found:
                found.append(directory)
    return found


def _is_of_system(directory: Path) -> bool:
    return any(directory.is_relative_to(place) for place in _SYSTEM)


def _root_of(programs: Path) -> Path:
    """What such a directory needs beside it: all of its installation, but never a home."""
    root = programs.parent if programs.name == "bin" else programs
    with suppress(RuntimeError):
        if Path.home().resolve().is_relative_to(root):
            return programs
    return root
