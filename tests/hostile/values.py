"""Hostile values, drawn by a seed: of variables, of files, and the places that they name."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from config import SETTINGS

TASK = {"id": "a", "instructions": "Write it.", "owns": ["a.txt"], "estimate": 10}
PLAN = {"version": 2, "prompt": "A note", "tasks": [TASK]}
NUMBERS = (
    "0",
    "-1",
    "1e400",
    "nan",
    "1e-400",
    "9" * 400,
    "0x10",
    "١",
    "true",
    "null",
    "1_0",
    " 3 ",
)


@dataclass(frozen=True)
class World:
    """One case's own directory, and addresses on loopback that refuse, hang or answer garbage."""

    place: Path
    refusing: int
    silent: int
    garbled: int

    def lay_out(self) -> None:
        """What values may name: a file of garbage, an empty one, a pipe that nobody writes to."""
        for name in ("home", "cwd", "bin", "full", "dir"):
            (self.place / name).mkdir()
        (self.place / "full" / "mine.txt").write_text("mine")
        (self.place / "garbage").write_bytes(bytes(range(256)) * 40)
        (self.place / "empty").write_bytes(b"")
        os.mkfifo(self.place / "pipe")

    def paths(self) -> list[bytes]:
        place = os.fsencode(self.place)
        own = (b"absent", b"dir", b"full", b"garbage", b"garbage/below", b"empty", b"pipe")
        odd = (b"not-utf8-\xff", b"a\nb", b"-x", b" ", b"x" * 300, b"d/" * 2000)
        fixed = (
            b"/dev/zero",
            b"/dev/full",
            b"/dev/null",
            b"/proc/self/mem",
            b".",
            b"~",
            b"~/x",
        )
        return [*(place + b"/" + name for name in (*own, *odd)), *odd, *fixed]

    def addresses(self) -> list[bytes]:
        ports = (self.refusing, self.silent, self.garbled)
        good = [f"{s}://127.0.0.1:{p}".encode() for p in ports for s in ("http", "https", "tcp")]
        return [
            *good,
            b"127.0.0.1:1",
            b"http://[::1",
            b"http://a b",
            b"http://x:99999",
            b"://",
            b"ftp://x",
        ]


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def texts(rng: random.Random) -> bytes:
    return rng.choice(
        (b"", b" ", b"x", b"\xff\xfe", b"\xef\xbb\xbfx", b"a\nb", b"\x1b[2J", b"x" * 100_000,
         "äöü €".encode(), b"'\"`$(x)", b"../../x", b"-x", b"%s%n", b"{}", b"[]", b"null", b"\r\n")
    )  # fmt: skip


def numbers(rng: random.Random) -> bytes:
    return rng.choice(NUMBERS).encode()


_PATHS = _names(
    """
    AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_CA_BUNDLE AWS_WEB_IDENTITY_TOKEN_FILE
    AWS_DATA_PATH DOCKER_CONFIG DOCKER_CERT_PATH SSL_CERT_FILE SSL_CERT_DIR SSLKEYLOGFILE
    REQUESTS_CA_BUNDLE HOME XDG_CONFIG_HOME XDG_CACHE_HOME TMPDIR PATH PWD PYTHONPATH
    PYTHONPYCACHEPREFIX PYTHONUSERBASE ANTHROPIC_CONFIG_DIR ORCHESTRATOR_WORK_DIR
    ORCHESTRATOR_OUTPUT_DIR ORCHESTRATOR_CONFIG ORCHESTRATOR_PLAN ORCHESTRATOR_SLURM_SETUP
    ORCHESTRATOR_AWS_SSH_KEY NETRC
    """
)
_ADDRESSES = _names(
    """
    AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 AWS_CONTAINER_CREDENTIALS_FULL_URI DOCKER_HOST
    AWS_EC2_METADATA_SERVICE_ENDPOINT HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy NO_PROXY
    no_proxy ANTHROPIC_BASE_URL ANTHROPIC_BEDROCK_BASE_URL ORCHESTRATOR_BASE_URL
    """
)
_TEXTS = _names(
    """
    AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    AWS_SESSION_TOKEN AWS_ROLE_ARN AWS_RETRY_MODE AWS_BEARER_TOKEN_BEDROCK
    AWS_USE_FIPS_ENDPOINT AWS_SIGV4A_SIGNING_REGION_SET AWS_REQUEST_CHECKSUM_CALCULATION
    AWS_DEFAULTS_MODE DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_API_VERSION
    DOCKER_DEFAULT_PLATFORM NO_PROXY LANG LC_ALL LANGUAGE TERM TZ USER SHELL NO_COLOR
    FORCE_COLOR ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN ANTHROPIC_CUSTOM_HEADERS
    ANTHROPIC_PROFILE ANTHROPIC_LOG ANTHROPIC_MODEL ORCHESTRATOR_ ORCHESTRATOR_MAX_EXECUTOR
    ORCHESTRATOR_HOME SLURM_CONF SLURM_JOB_ID HOSTNAME
    """
)
_NUMBERS = _names(
    """
    COLUMNS LINES AWS_MAX_ATTEMPTS AWS_METADATA_SERVICE_TIMEOUT
    AWS_METADATA_SERVICE_NUM_ATTEMPTS DOCKER_CLIENT_TIMEOUT COMPOSE_HTTP_TIMEOUT SLURM_NTASKS
    """
)
# What the interpreter itself takes: others end it before the program begins.
_FIXED = {
    "PYTHONIOENCODING": ("ascii", "utf-16", "latin-1:strict", "utf-8:surrogateescape"),
    "PYTHONWARNINGS": ("error", "always", "x"),
    "PYTHONOPTIMIZE": ("2",),
    "PYTHONSAFEPATH": ("1",),
    "PYTHONDEVMODE": ("1",),
    "PYTHONINTMAXSTRDIGITS": ("640", "0"),
    "PYTHONCOERCECLOCALE": ("0",),
    "PYTHONUTF8": ("0", "1"),
    "PYTHONNOUSERSITE": ("1",),
    "LC_CTYPE": ("C", "POSIX", "C.UTF-8", "xx_YY"),
}  # fmt: skip
OURS = [s.env for s in SETTINGS]


def variables(world: World, rng: random.Random) -> dict[bytes, bytes]:
    """One to three variables with hostile values."""
    kinds: list[Callable[[], tuple[str, bytes]]] = [
        lambda: (rng.choice(_PATHS), rng.choice(world.paths())),
        lambda: (rng.choice(_ADDRESSES), rng.choice(world.addresses())),
        lambda: (rng.choice(_TEXTS), texts(rng)),
        lambda: (rng.choice(_NUMBERS), numbers(rng)),
        lambda: (rng.choice(OURS), rng.choice((texts, numbers))(rng)),
        lambda: fixed(rng),
        lambda: (rng.choice((*_PATHS, *_ADDRESSES)), texts(rng)),
    ]
    return {
        os.fsencode(name): value
        for name, value in (rng.choice(kinds)() for _ in range(rng.randint(1, 3)))
    }


def fixed(rng: random.Random) -> tuple[str, bytes]:
    name = rng.choice(sorted(_FIXED))
    return name, rng.choice(_FIXED[name]).encode()


def plan_files(rng: random.Random) -> bytes:
    """A plan with one hostile value, or a file that is none; half of them for TOML."""
    value: object = rng.choice(
        (10**9, -1, 10**400, 1e308, float("nan"), float("inf"), None, True, "", "x" * 10_000, [],
         {}, ["a"] * 5_000, "\ud800", "\0", "../x", "/etc/x", "a/" * 3_000, "dir/", "CON", "a\nb")
    )  # fmt: skip
    plan: dict[str, object] = {**PLAN, "tasks": [dict(TASK)]}
    tasks: list[dict[str, object]] = plan["tasks"]  # type: ignore[assignment]
    key = rng.choice(
        ("version", "prompt", "tasks", "analysis", "contracts", "a key", *TASK, "owns", "estimate")
    )
    if key in TASK:
        tasks[0][key] = [value] if key == "owns" and isinstance(value, str) else value
    elif key == "analysis":
        plan[key] = {"recommended_executors": value}
    elif key == "contracts":
        plan[key] = [{"path": value, "content": "x"}]
    elif key == "tasks" and rng.random() < 0.5:
        plan[key] = [{**TASK, "id": f"t{n}", "owns": [f"{n}.txt"]} for n in range(200)]
    else:
        plan[key] = value
    text = json.dumps(plan).encode()
    return rng.choice(
        (text, text, text, text[:-20], b"\xef\xbb\xbf" + text, text.decode().encode("utf-16"))
    )


def settings_files(rng: random.Random) -> bytes:
    key = rng.choice([s.key for s in SETTINGS] + ["max_executor", "a.b", "config"])
    value = rng.choice(
        (
            *NUMBERS,
            '"x"',
            '""',
            "[]",
            "{}",
            '["a", 1]',
            "1979-05-27",
            '"\\u0000"',
            "'" + "x" * 9_000 + "'",
        )
    )
    line = f"{key} = {value}\n".encode()
    return rng.choice((line, line, b"\xef\xbb\xbf" + line, line + b"\xff", line * 2, b"[" * 900))
