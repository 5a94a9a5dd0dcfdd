"""git, called on objects and refs only, and in such a way that nothing a repository chose is run:
its hooks, fsmonitor, filters and transports are off, and the environment is built anew."""

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, cast

from core.errors import GitFailed, PreflightFailed, Problem

OLDEST_GIT = (2, 34)
_LIMIT_S = 600.0
_AHEAD = 64
"""Objects that are asked for at a time: their ids fit into a pipe of any size."""
_MOST_CAUSE_CHARS = 300
# A repository's own configuration, also what it includes, is read by git whatever is done; these
# win over it. https://git-scm.com/docs/git-config
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.attributesFile": os.devnull,
    "core.logAllRefUpdates": "false",
    "core.untrackedCache": "false",
    "core.splitIndex": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "i18n.commitEncoding": "UTF-8",
    "user.useConfigOnly": "true",
}
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "none",  # unlike protocol.allow, no configuration is above it
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
}
_OF_THE_USER = ("HOME", "XDG_CONFIG_HOME", "EMAIL", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL")
MISSING_OBJECTS = (
    "Objects are missing or damaged: see git fsck. A partial clone, for which nothing is fetched"
    " here, is made whole with git fetch --refetch --no-filter."
)
_REMEDIES = {
    "dubious ownership": "If you trust it, tell git so: git config --global --add safe.directory"
    " DIRECTORY. Or work as the user who owns it.",
    "refs/heads/orchestrator' exists": "A branch of that name leaves no room for"
    " orchestrator/RUN: rename it (git branch -m orchestrator NAME).",
    ".lock': File exists": "Another git is at work there: wait for it and resume. If there is none,"
    " remove the lock that it left.",
    "No space left": "Free space on its file system and resume the run.",
    "ermission": "Give yourself the permission to write there, then resume the run.",
    "Read-only file system": "Have it mounted for writing, then resume the run.",
    "transport '": MISSING_OBJECTS,
    "promisor remote": MISSING_OBJECTS,
    "ad object": MISSING_OBJECTS,
}
_CHECK = "Find out what is wrong with the repository: git status, git fsck."


class Git:
    """One repository, by its own directory. Every call raises GitFailed where git does."""

    def __init__(self, git_dir: Path) -> None:
        self.git_dir = git_dir

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        index: Path | None = None,
        work_tree: Path | None = None,
        env: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        as_user: bool = False,
        limit_s: float = _LIMIT_S,
    ) -> bytes:
        """What one command prints. `as_user`: the user's own configuration counts too. Without a
        `work_tree` there is none, whatever the repository says."""
        chosen = dict(env or {})
        if index is not None:
            chosen["GIT_INDEX_FILE"] = str(index)
        command = (*self._command(work_tree, settings or {}), *arguments)
        place = work_tree or self.git_dir
        return call_git(command, place, stdin, environment(chosen, as_user=as_user), limit_s)

    def text(
        self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> str:
        """The same as text, without the newline at its end."""
        return os.fsdecode(self.run(*arguments, stdin=stdin, env=env).removesuffix(b"\n"))

    def lookup(self, *arguments: str) -> str:
        """The same for a question that may have no answer (exit code 1), which gives ""."""
        try:
            return self.text(*arguments)
        except GitFailed as exc:
            if exc.code == 1:
                return ""
            raise

    @contextmanager
    def objects(self) -> Iterator["ObjectReader"]:
        """A reader of any number of objects, by one process."""
        with self.talk("cat-file", "--batch") as process:
            yield ObjectReader(self.git_dir, process)

    @contextmanager
    def talk(self, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A command that is asked and answers, until its input ends."""
        command = [git_program(), *_switched_off(), *self._command(None, {}), *arguments]
        with subprocess.Popen(  # noqa: S603 - git itself, with arguments of our own
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment({}),
            process_group=0,
        ) as process:
            try:
                yield process
            except BrokenPipeError as exc:
                raise ended_early(arguments[0], self.git_dir) from exc

    def _command(self, work_tree: Path | None, settings: Mapping[str, str]) -> list[str]:
        # without a place git takes core.worktree, or the current directory
        place = work_tree or self.git_dir
        return [f"--git-dir={self.git_dir}", f"--work-tree={place}", *_as_options(settings)]


class ObjectReader:
    """Contents of objects, in the order asked for."""

    def __init__(self, git_dir: Path, process: "subprocess.Popen[bytes]") -> None:
        self._git_dir = git_dir
        self._in = cast(IO[bytes], process.stdin)
        self._out = cast(IO[bytes], process.stdout)

    def read(self, oid: str, limit: int) -> bytes:
        """Raises GitFailed where it is missing or has more than `limit` bytes."""
        [data] = self.read_all((oid,), limit)
        return data

    def read_all(self, oids: Iterable[str], limit: int) -> Iterator[bytes]:
        """The same for many: git is asked ahead, so that neither waits for the other each time."""
        left, asked = iter(oids), deque[str]()
        while True:
            if len(asked) <= _AHEAD // 2 and (more := [*islice(left, _AHEAD // 2)]):
                asked += more
                self._in.write("".join(f"{oid}\n" for oid in more).encode())
                self._in.flush()
            if not asked:
                return
            yield self._receive(asked.popleft(), limit)

    def _receive(self, oid: str, limit: int) -> bytes:
        found = re.fullmatch(rb"\S+ \w+ (\d+)\n", self._out.readline())
        if found is None:
            raise GitFailed(
                f"The object {oid} cannot be read from {self._git_dir}.", MISSING_OBJECTS
            )
        size = int(found[1])
        if size > limit:
            raise GitFailed(f"The object {oid} in {self._git_dir} has more than {limit} bytes.")
        data = self._out.read(size + 1)
        if len(data) != size + 1:
            raise ended_early("cat-file", self._git_dir)
        return data[:-1]


def call_git(
    arguments: Sequence[str],
    place: Path,
    stdin: bytes,
    env: Mapping[str, str],
    limit_s: float = _LIMIT_S,
) -> bytes:
    """What git prints; `place` is named where it fails."""
    verb = next((a for a in arguments if re.fullmatch("[a-z]+(-[a-z]+)*", a)), "")
    try:
        with subprocess.Popen(  # noqa: S603 - git itself, with arguments of our own
            [git_program(), *_switched_off(), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=env,
            process_group=0,  # Ctrl-C is for this program to take
        ) as process:
            printed, told = _communicate(process, stdin, limit_s)
    except subprocess.TimeoutExpired as exc:
        why = f"git {verb} took longer than {limit_s:.0f} s in {place}"
        raise GitFailed(f"{why}.", _CHECK) from exc
    except (OSError, ValueError) as exc:
        raise GitFailed(f"git {verb} could not be started for {place}: {exc}.", _CHECK) from exc
    if process.returncode:
        raise _failed(verb, place, process.returncode, os.fsdecode(told))
    return printed


def _communicate(
    process: "subprocess.Popen[bytes]", stdin: bytes, limit_s: float
) -> tuple[bytes, bytes]:
    """Ctrl-C lets git end what it does, which would leave locks and half a work tree behind; a
    second one does not wait for it."""
    try:
        return process.communicate(stdin, limit_s)
    except KeyboardInterrupt:
        process.communicate()
        raise
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _switched_off() -> list[str]:
    return _as_options(_SETTINGS)


def _as_options(settings: Mapping[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def environment(more: Mapping[str, str], *, as_user: bool = False) -> dict[str, str]:
    """All that git sees of the environment. `as_user`: with the user's own configuration."""
    found = {"PATH": _search_path(), "HOME": os.devnull, **_ENVIRONMENT}
    if as_user:
        del found["GIT_CONFIG_NOSYSTEM"], found["GIT_CONFIG_GLOBAL"]
        found |= {name: os.environ[name] for name in _OF_THE_USER if name in os.environ}
    return found | dict(more)


def ended_early(verb: str, place: Path) -> GitFailed:
    return GitFailed(f"git {verb} ended early in {place}.", _CHECK)


def git_program() -> str:
    """Where git is. Raises PreflightFailed where there is none, or an old one."""
    path = _search_path()
    if (found := shutil.which("git", path=path)) is None:
        fix = "Install it, such as by: apt-get install git."
        raise PreflightFailed([Problem("git is not installed, and commits need it", fix)])
    _refuse_old(found, path)
    return found


@lru_cache(maxsize=8)
def _refuse_old(program: str, path: str) -> None:
    told = subprocess.run(  # noqa: S603 - found on PATH
        [program, "version"], capture_output=True, text=True, cwd="/", env={"PATH": path}
    ).stdout
    version = re.search(r"(\d+)\.(\d+)", told)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_GIT:
        wanted = ".".join(map(str, OLDEST_GIT))
        what = f"{program} is {told.strip() or 'no git'}, and commits need git {wanted}"
        raise PreflightFailed([Problem(what, "Install a newer one, or put it first on PATH.")])


def _search_path() -> str:
    """PATH without what depends on the current directory."""
    parts = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(part for part in parts if os.path.isabs(part))


def _failed(verb: str, place: Path, code: int, told: str) -> GitFailed:
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    worst = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    cause = worst[0].partition(": ")[2] or worst[0] if worst else f"exit code {code}"
    cause = "".join(c if c.isprintable() else "?" for c in cause)[:_MOST_CAUSE_CHARS]
    remedy = next((fix for sign, fix in _REMEDIES.items() if sign in told), _CHECK)
    return GitFailed(f"git {verb} failed for {place}: {cause.rstrip('.')}.", remedy, code=code)
