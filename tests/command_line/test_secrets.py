"""Canaries in place of every kind of credential are found nowhere, during and after a run.

The program runs with --debug over loopback HTTP, and afterwards all it left behind is searched.
Where it is a process of its own, so are the command lines of all processes below it meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import orchestrator
from claude.simulation.server import serve
from core.bundle import SimulationSettings
from core.clock import SystemClock
from tests.fakes.scripted_server import Asked, Told, scripted_server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROMPT = "Write a script that counts words in a file"
SAME = "canary"
"""Every planted secret holds it, in one of its spellings."""

# Planted in every case, whichever of them is used.
API = {"ANTHROPIC_API_KEY": "sk-ant-canary-key"}
TOKEN = {"ANTHROPIC_AUTH_TOKEN": "canary-auth-token"}
BEARER = {"AWS_BEARER_TOKEN_BEDROCK": "canary-bearer-token"}
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYKEY",
    "AWS_SECRET_ACCESS_KEY": "canary/secret+key",
    "AWS_SESSION_TOKEN": "canary+session/token==",
}
PROFILE_FILE = """[planted]
aws_access_key_id = ASIACANARYPROFILE
aws_secret_access_key = canary/profile+secret
aws_session_token = canary+profile/token==
"""
OPTIONS = (
    "--docker-aws-access-key-id",
    "AKIACANARYOPTION",
    "--docker-aws-secret-access-key",
    "canary/option+secret",
    "--docker-aws-session-token",
    "canary+option/token==",
)


@dataclass(frozen=True)
class Planted:
    """One way to hand over credentials; `used` is what the server has to have seen of it."""

    environ: Mapping[str, str]
    used: str
    args: tuple[str, ...] = ()


BEDROCK = ("--provider", "bedrock", "--docker-bedrock-region", "eu-south-2")
WAYS = {
    "api-key": Planted(API | TOKEN | BEARER | KEYS, "sk-ant-canary-key"),
    "auth-token": Planted(TOKEN | BEARER | KEYS, "canary-auth-token"),
    "aws-keys": Planted(API | KEYS, "Credential=AKIACANARYKEY/", BEDROCK),
    "session-token": Planted(API | KEYS, "canary+session/token==", BEDROCK),
    "bearer-token": Planted(API | BEARER | KEYS, "canary-bearer-token", BEDROCK),
    "profile": Planted(API | {"AWS_PROFILE": "planted"}, "canary+profile/token==", BEDROCK),
    "options": Planted(API | BEARER | KEYS, "canary+option/token==", (*BEDROCK, *OPTIONS)),
}


@dataclass
class Trace:
    """All that one process said, left behind, and showed in the process list."""

    code: int
    out: str
    err: str
    left: dict[Path, bytes]
    shown: set[str] = field(default_factory=set)

    def hits(self) -> list[str]:
        """Where a canary is; empty when there is none."""
        texts = {"standard output": self.out, "standard error": self.err}
        texts |= {f"process list: {line[:60]}": line for line in self.shown}
        texts |= {str(p): data.decode("utf-8", "replace") for p, data in self.left.items()}
        return [where for where, text in texts.items() if SAME in text.lower()]


def environment(home: Path, url: str, planted: Planted) -> dict[str, str]:
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "credentials").write_text(PROFILE_FILE)
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC_", "AWS_"))}
    asked = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_BEDROCK_BASE_URL": url}
    home_only = {"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true"}
    return {**plain, **planted.environ, **asked, **home_only}


def files_below(place: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}


Run = Callable[..., Trace]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process."""

    def here(place: Path, url: str, planted: Planted, *args: str) -> Trace:
        environ = environment(place / "home", url, planted)
        (place / "work").mkdir()
        monkeypatch.chdir(place / "work")
        with monkeypatch.context() as patch:
            for name in set(os.environ) - set(environ):
                patch.delenv(name)
            for name, value in environ.items():
                patch.setenv(name, value)
            code = orchestrator.main([*args, *planted.args, "--debug"])
        printed = capfd.readouterr()
        return Trace(code, printed.out, printed.err, files_below(place / "work"))

    return here


def run_apart(place: Path, url: str, planted: Planted, *args: str) -> Trace:
    """The command line as a person starts it, with what could be seen of it meanwhile."""
    cwd = place / "work"
    cwd.mkdir()
    environ = environment(place / "home", url, planted)
    command = [sys.executable, str(ROOT / "orchestrator.py"), *args, *planted.args, "--debug"]
    shown: set[str] = set()
    with (
        (place / "out").open("w+") as out,
        (place / "err").open("w+") as err,
        subprocess.Popen(command, cwd=cwd, env=environ, stdout=out, stderr=err) as process,
    ):
        try:
            while process.poll() is None:
                shown.update(command_lines(process.pid, with_own=not planted.args[4:]))
                time.sleep(0.05)
        finally:
            process.kill()
    out_text, err_text = ((place / name).read_text() for name in ("out", "err"))
    return Trace(process.returncode, out_text, err_text, files_below(cwd), shown)


def command_lines(pid: int, *, with_own: bool) -> Iterator[str]:
    """Those of a process and all below it. Secrets given as options stand in its own, as the
    program warns; no other may have them."""
    parents: dict[int, int] = {}
    lines: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                lines[int(entry.name)] = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue  # it has ended
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    yield from (lines[p] for p in below if p in lines and (with_own or p != pid))


@pytest.mark.parametrize("way", WAYS)
def test_a_whole_run_leaves_no_trace_of_its_credentials(way: str, run: Run, tmp_path: Path) -> None:
    apart = way in ("api-key", "options")
    with serve(0, SimulationSettings(speed=40), SystemClock()) as server:
        args = (PROMPT, "--real", "--json", "--output-dir", "out")
        trace = (run_apart if apart else run)(tmp_path, server.base_url, WAYS[way], *args)
    assert trace.code == 0, trace.err
    kinds = [json.loads(line)["kind"] for line in trace.out.splitlines()]
    assert kinds[-1] == "run_ended"
    names = {path.name for path in trace.left}
    assert {"journal.jsonl", "run.json", "transcript.jsonl", "result.json"} <= names
    assert trace.shown or way != "api-key"
    assert trace.hits() == []


SECRET_HEADERS = ("authorization", "x-api-key", "x-amz-security-token")


def repeats(asked: Asked) -> Told:
    """A refusal that repeats all it was sent, as a careless gateway does, and AWS in part."""
    secrets_first = sorted(asked.headers.items(), key=lambda h: h[0] not in SECRET_HEADERS)
    sent = "; ".join(f"{name}: {value}" for name, value in secrets_first)
    body = json.dumps({"error": {"type": "authentication_error", "message": sent}, "message": sent})
    return Told(401, body.encode(), {"content-type": "application/json"})


@pytest.mark.parametrize(
    ("command", "way"),
    [*(("doctor", way) for way in WAYS), ("run", "profile"), ("plan", "api-key")],
)
def test_a_server_that_repeats_the_credentials_does_not_get_them_shown(
    command: str, way: str, run: Run, tmp_path: Path
) -> None:
    args = ("doctor",) if command == "doctor" else (command, PROMPT, "--real")
    with scripted_server(repeats) as server:
        trace = run(tmp_path, server.url, WAYS[way], *args)
        sent = [" ".join(asked.headers.values()) for asked in server.asked]
    assert any(WAYS[way].used in headers for headers in sent), "it was not used at all"
    assert trace.code == 3
    assert "********" in trace.out + trace.err
    assert trace.hits() == []


def test_a_server_that_breaks_off_does_not_get_them_shown(run: Run, tmp_path: Path) -> None:
    with scripted_server(Told(reset=True)) as server:
        trace = run(tmp_path, server.url, WAYS["session-token"], "doctor")
    assert trace.code == 3
    assert trace.hits() == []


@pytest.mark.parametrize("way", ["options", "aws-keys"])
def test_show_config_masks_them(way: str, run: Run, tmp_path: Path) -> None:
    trace = run(tmp_path, "http://127.0.0.1:9", WAYS[way], "run", "--show-config", "--json")
    assert trace.code == 0
    assert trace.hits() == []
    if way == "options":
        assert "********" in trace.out
