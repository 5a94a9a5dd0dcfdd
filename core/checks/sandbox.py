"""Where a project's commands run, so that nothing of the user's is at risk.

Bubblewrap shows them the system's programs read-only, and of the rest only the project: no home, no
keys, no network but a loopback of their own. See https://github.com/containers/bubblewrap.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from core.checks.package_cache import PackageCache, open_package_cache
from core.checks.registries import Registries, read_registries
from core.checks.start_check import listening_ports
from core.checks.toolchain import link_python

_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
)
_ETC = (
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "maven",
    "mime.types",
    "php",
    "pki/ca-trust",
    "pki/java",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
)
_ETC_OF_NETWORK = ("hosts", "nsswitch.conf", "resolv.conf")
_USER, _UID = "checks", 1000
_OWN_ETC = {
    "group": f"{_USER}:x:{_UID}:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "passwd": f"{_USER}:x:{_UID}:{_UID}::/sandbox/home:/bin/sh\n",
}
_TMP_BYTES = 512 * 1024 * 1024
_TRY_S = 20.0
_PATHS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")
PROJECT, HOME, _TOOLS = "/sandbox/project", "/sandbox/home", "/sandbox/tools"
_CERTIFICATES, _PACKAGES = "/sandbox/certificates", "/sandbox/packages"


@dataclass(frozen=True, slots=True)
class Places:
    """On this machine: the copy of the `project`, a `home` for its commands, `tools`, whose
    programs come before those of the system, and files of `etc`."""

    project: Path
    home: Path
    tools: Path
    etc: Path

    @classmethod
    def below(cls, root: Path) -> Self:
        return cls(*(root / name for name in ("project", "home", "tools", "etc")))

    def make(self) -> None:
        for place in (self.project, self.home, self.tools, self.etc):
            place.mkdir(parents=True, exist_ok=True)
        link_python(self.tools)
        for name, text in _OWN_ETC.items():
            self.etc.joinpath(name).write_text(text, encoding="ascii")


class Sandbox(ABC):
    name: str
    """As it reads after "in"."""
    has_own_network: bool
    """Whether its loopback is another than this machine's."""
    may_start: bool
    """Whether what a project starts may listen in it."""
    registries: Registries = Registries()
    """Where an installation gets packages from."""

    @contextmanager
    def sharing_packages(self, places: Places) -> Iterator[None]:
        """While an installation runs."""
        yield

    @abstractmethod
    def wrap(self, command: str, places: Places, *, network: bool) -> str:
        """The shell command that runs `command` in the project's root inside."""


class Bubblewrap(Sandbox):
    """`program` is bwrap; `directories` hold the tools that a project needs."""

    name = "a sandbox of bubblewrap"
    has_own_network = may_start = True

    def __init__(
        self,
        program: str,
        directories: Iterable[Path] = (),
        registries: Registries = Registries(),  # noqa: B008 - frozen
        cache: PackageCache | None = None,
    ) -> None:
        self._program = program
        self._directories = tuple(dict.fromkeys(directories))
        self.registries = registries
        self._cache = cache

    @contextmanager
    def sharing_packages(self, places: Places) -> Iterator[None]:
        if self._cache is None:
            yield
            return
        self._cache.lend(places.home, _PACKAGES)
        yield
        self._cache.take(places.home)

    def wrap(self, command: str, places: Places, *, network: bool) -> str:
        inside = ["/bin/sh", "-c", command]
        return shlex.join(["exec", *self._arguments(places, network), "--", *inside])

    def _arguments(self, places: Places, network: bool) -> Iterator[str]:
        yield from (self._program, "--unshare-all", "--unshare-user", "--die-with-parent")
        yield from ("--new-session", "--uid", str(_UID), "--gid", str(_UID), "--clearenv")
        if network:
            yield "--share-net"
        for place in _SYSTEM:
            if os.path.islink(place):
                yield from ("--symlink", os.readlink(place), place)
            else:
                yield from ("--ro-bind-try", place, place)
        for name in _OWN_ETC:
            yield from ("--ro-bind", str(places.etc / name), f"/etc/{name}")
        for name in (*_ETC, *(_ETC_OF_NETWORK if network else ())):
            yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
        yield from ("--proc", "/proc", "--dev", "/dev")
        for place in ("/tmp", "/dev/shm"):  # noqa: S108 - its own
            yield from ("--size", str(_TMP_BYTES), "--tmpfs", place)
        for root in dict.fromkeys(map(_root_of, filter(_is_outside, self._directories))):
            yield from ("--ro-bind", str(root), str(root))
        yield from ("--bind", str(places.project), PROJECT, "--bind", str(places.home), HOME)
        yield from ("--ro-bind", str(places.tools), _TOOLS)
        path = [_TOOLS, *map(str, self._directories), *_PATHS]
        environ = environment_of(path, HOME) | {"TMPDIR": "/tmp", "TOOLS": _TOOLS}  # noqa: S108
        if network:
            if self._cache is not None:
                yield from ("--ro-bind", str(self._cache.root), _PACKAGES)
            environ |= self.registries.environ
            for name, file in self.registries.files.items():
                environ[name] = f"{_CERTIFICATES}/{name}"
                yield from ("--ro-bind", str(file), environ[name])
        yield from ("--remount-ro", "/", "--chdir", PROJECT)
        for name, value in environ.items():
            yield from ("--setenv", name, value)


class Bare(Sandbox):
    """No sandbox: for projects that are ours, and where the user asks for it."""

    name = "no sandbox"
    has_own_network = may_start = False

    def __init__(self, registries: Registries = Registries()) -> None:  # noqa: B008 - frozen
        self.registries = registries

    def wrap(self, command: str, places: Places, *, network: bool) -> str:
        path = [str(places.tools), os.environ.get("PATH", os.defpath)]
        environ = environment_of(path, str(places.home)) | {"TOOLS": str(places.tools)}
        if network:
            environ |= self.registries.environ
            environ |= {name: str(file) for name, file in self.registries.files.items()}
        variables = [f"{name}={value}" for name, value in environ.items()]
        return shlex.join(["exec", "env", *variables, "/bin/sh", "-c", command])


class Contained(Bare):
    """For a worker in a container of its own, which is the sandbox."""

    name = "the job's container"
    may_start = True

    def __init__(self, registries: Registries = Registries()) -> None:  # noqa: B008 - frozen
        super().__init__(read_registries(os.environ, Path.home()).updated(registries))
        # that of a container may be the machine's, but where nobody listens no port is taken
        self.has_own_network = not any(listening_ports())


def environment_of(path: Iterable[str], home: str) -> dict[str, str]:
    """All that a command sees."""
    return {
        "PATH": ":".join([f"{home}/.venv/bin", *path]),
        "HOME": home,
        "USER": _USER,
        "LANG": "C.UTF-8",
        "CI": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "npm_config_update_notifier": "false",
        "npm_config_audit": "false",
        "npm_config_fund": "false",
    }


def find_bubblewrap(tools: Iterable[str], here: str = "here") -> Bubblewrap | str:
    """The sandbox of this machine, with the programs `tools` in it; or why there is none."""
    program = shutil.which("bwrap")
    if sys.platform != "linux" or program is None:
        return f"bubblewrap is not installed {here}"
    registries = read_registries(os.environ, Path.home())
    cache = open_package_cache(os.environ, Path.home())
    found = Bubblewrap(program, directories_of(tools), registries, cache)
    try:
        with tempfile.TemporaryDirectory(prefix="orchestrator-") as root:
            places = Places.below(Path(root))
            places.make()
            tried = subprocess.run(  # noqa: S603 - a command that we made
                ["/bin/sh", "-c", found.wrap("python3 -c pass", places, network=False)],
                capture_output=True,
                timeout=_TRY_S,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"bubblewrap cannot be run: {exc}"
    if tried.returncode:
        return f"bubblewrap does not work {here}: {tried.stderr.decode(errors='replace').strip()}"
    return found


def directories_of(tools: Iterable[str]) -> list[Path]:
    """Where Python and the `tools` are."""
    found = [Path(sys.base_prefix).resolve() / "bin"]
    for tool in tools:
        if (path := shutil.which(tool)) is not None:
            found += [Path(path).parent, Path(path).resolve().parent]
    return list(dict.fromkeys(found))


def _is_outside(directory: Path) -> bool:
    """Whether it is none of the system's own, such as that of a Node of nvm."""
    return not any(directory.is_relative_to(place) for place in _SYSTEM)


def _root_of(directory: Path) -> Path:
    """What such a directory needs beside it: the installation that it is part of, and neither a
    home nor a directory in one, such as ~/.local, which holds much else."""
    root, home = directory.parent, Path.home()
    is_installation = any(root.joinpath(name).is_dir() for name in ("lib", "lib64", "pkg"))
    is_shared = root in (home, *home.parents) or root.parent in (home, Path("/"))
    return root if directory.name == "bin" and is_installation and not is_shared else directory
