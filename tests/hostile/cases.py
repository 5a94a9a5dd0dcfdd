"""The cases: a command, the files that it names and the environment around it, by a seed."""

from __future__ import annotations

import os
import random
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile.values import World, numbers, plan_files, settings_files, texts, variables

CLUSTER_COMMANDS = ("sbatch", "squeue", "sacct", "sinfo", "scontrol", "scancel", "ssh")
RECORDED = Path(__file__).parents[1] / "engine" / "run" / "recorded_journal.jsonl"
_SCRIPTS = ("sleep 600", "echo garbage", "exit 1", "echo no >&2; exit 255", "kill -9 $$")


@dataclass
class Case:
    """What is run, in `world.place / "cwd"`."""

    name: str
    args: list[bytes]
    environ: dict[bytes, bytes]
    files: dict[str, bytes] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    """Scripts of /bin/sh, on the PATH of this case alone."""
    reads_stdin: bool = False
    """Whether standard input is closed, and not empty."""

    def __str__(self) -> str:
        environ = " ".join(f"{_shown(k)}={shlex.quote(_shown(v))}" for k, v in self.environ.items())
        return f"{self.name}: {environ} {shlex.join(map(_shown, self.args))}"


def _shown(value: bytes) -> str:
    text = value.decode("utf-8", "backslashreplace")
    return text if len(text) <= 90 else f"{text[:60]}...({len(text)})"


def make_case(world: World, seed: int, number: int, *, cheap: bool = False) -> Case:
    """Case `number` of a seed; the same each time. `cheap` ones need no SDK."""
    rng = random.Random(f"{seed}/{number}")
    makers = CHEAP if cheap or rng.random() < 0.5 else DEAR
    made = rng.choice(makers)(world, rng)
    base = {
        b"PATH": os.fsencode(world.place / "bin"),
        b"HOME": os.fsencode(world.place / "home"),
        b"AWS_EC2_METADATA_DISABLED": b"true",
        b"AWS_ENDPOINT_URL": f"http://127.0.0.1:{world.refusing}".encode(),
        b"DOCKER_HOST": f"tcp://127.0.0.1:{world.refusing}".encode(),
        b"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{world.refusing}".encode(),
        b"PYTHONDONTWRITEBYTECODE": b"1",
    }
    drawn = variables(world, rng)
    if number % 10 == 0:
        del base[b"HOME"]
    made.environ = {**base, **made.environ, **drawn}
    made.name = f"{seed}/{number}"
    return made


Maker = Callable[[World, random.Random], Case]


def _case(*args: bytes | str, **more: object) -> Case:
    return Case("", [os.fsencode(a) for a in args], {}, **more)  # type: ignore[arg-type]


def _help(world: World, rng: random.Random) -> Case:
    return _case(*rng.choice((["--help"], ["run", "--help-all"], ["--version"], ["doctor", "-h"])))


def _show_config(world: World, rng: random.Random) -> Case:
    files = {"orchestrator.toml": settings_files(rng)}
    return _case(*rng.choice((["--show-config"], ["runs", "--show-config", "--json"])), files=files)


def _runs(world: World, rng: random.Random) -> Case:
    command = rng.choice(
        (
            ["runs"],
            ["runs", "--json"],
            ["clean"],
            ["clean", "x", "--yes"],
            ["cancel", "last"],
            ["resume", "last"],
        )
    )
    return _case(*command, *rng.choice(([], [b"--work-dir", rng.choice(world.paths())])))


def _old_run(world: World, rng: random.Random) -> Case:
    """A run directory as nobody left it."""
    facts = (
        b'{"run": "r", "prompt": "p", "target": "/t", "created": %s, "settings": {},'
        b' "simulated": true, "version": 1}'
    )
    made = facts % numbers(rng) if rng.random() < 0.5 else rng.choice((texts(rng), facts % b"1.0"))
    files = {".orchestrator/runs/r/run.json": made}
    for name in ("journal.jsonl", "plan.json", "lock", "delivered.json"):
        if rng.random() < 0.5:
            made = rng.choice((texts(rng), plan_files(rng), _damaged(rng, RECORDED.read_bytes())))
            files[f".orchestrator/runs/r/{name}"] = made
    command = rng.choice(
        (
            ["runs"],
            ["runs", "--json"],
            ["clean", "--older-than", "0h"],
            ["clean", "r", "--yes"],
            ["cancel", "r"],
            ["resume", "r"],
        )
    )
    return _case(*command, files=files)


def _damaged(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(len(content))
    return (
        content[:place] + rng.choice((texts, numbers))(rng) + content[place + rng.choice((0, 1)) :]
    )


def _refused_input(world: World, rng: random.Random) -> Case:
    """A prompt, a file or a directory that is none."""
    args, files = rng.choice(
        (
            ([texts(rng)], {}),
            ([b"--prompt-file", rng.choice(world.paths())], {}),
            ([b"--plan", rng.choice(world.paths())], {}),
            ([b"--plan", b"p.json"], {"p.json": plan_files(rng)}),
            ([b"--plan", b"p.toml"], {"p.toml": plan_files(rng)}),
            ([b"Build it", b"--config", rng.choice(world.paths())], {}),
            ([b"Build it"], {"orchestrator.toml": settings_files(rng)}),
            ([b"Build it", b"--approve"], {}),
        )
    )
    return _case(
        "run",
        *args,
        "--sim-speed",
        "0",
        "--sim-tasks",
        "2",
        "--output-dir",
        "out",
        files=files,
        reads_stdin=rng.random() < 0.5,
    )


def _run(world: World, rng: random.Random) -> Case:
    output = rng.choice(
        (
            [],
            [b"--output-dir", rng.choice(world.paths())],
            [b"--work-dir", rng.choice(world.paths())],
        )
    )
    flags = rng.choice(([], ["--json"], ["--quiet"], ["--verbose"], ["--debug"]))
    faults = rng.choice(
        ([], ["--sim-faults", "rate_limit=0.2,disconnect=0.2,wrong_files=0.3,refusal=0.2"])
    )
    given = rng.choice(([], ["--plan", "p.json"]))
    return _case(
        "run",
        "Build a todo list app",
        *flags,
        *faults,
        *given,
        *output,
        "--sim-speed",
        "0",
        "--sim-tasks",
        "3",
        files={"p.json": plan_files(rng)},
    )


def _plan(world: World, rng: random.Random) -> Case:
    return _case(
        "plan",
        "Build a shop",
        "--sim-speed",
        "0",
        *rng.choice(([], [b"-o", rng.choice(world.paths())])),
    )


def _real(world: World, rng: random.Random) -> Case:
    made = _case("Build a shop", "--real", *rng.choice(([], ["--provider", "bedrock"])))
    made.environ = {
        b"ANTHROPIC_API_KEY": b"k",
        b"AWS_BEARER_TOKEN_BEDROCK": b"b",
        b"ANTHROPIC_BASE_URL": rng.choice(world.addresses()),
        b"ANTHROPIC_BEDROCK_BASE_URL": rng.choice(world.addresses()),
    }
    if rng.random() < 0.3:
        del made.environ[rng.choice(sorted(made.environ)[1:])]
        made.environ[b"ANTHROPIC_BEDROCK_BASE_URL"] = rng.choice(world.addresses())
    return made


def _doctor(world: World, rng: random.Random) -> Case:
    return _case("doctor", *rng.choice(([], ["--json"], ["--docker"], ["--provider", "bedrock"])))


def _backend(world: World, rng: random.Random) -> Case:
    batch = ("--batch-job-queue", "q", "--batch-job-definition", "d", "--batch-s3-bucket", "b-1")
    options = rng.choice(
        (
            ["--docker", "--docker-image", "hostile:none"],
            ["--batch", *batch],
            ["--slurm"],
            ["--parallelcluster", "--aws-cluster-name", "c", "--aws-head-node", "127.0.0.1"],
            ["--parallelcluster", "--aws-cluster-name", "c"],
            ["--planner-in-docker", "--docker-image", "hostile:none"],
            ["--engine", "claude-code"],
        )
    )
    command = ["doctor"] if rng.random() < 0.4 else ["run", "Build a shop", "--sim-speed", "0"]
    made = _case(
        *(command if "--planner-in-docker" not in options else ["run", "Build it"]), *options
    )
    made.environ = {
        b"AWS_ACCESS_KEY_ID": b"k",
        b"AWS_SECRET_ACCESS_KEY": b"s",
        b"AWS_ENDPOINT_URL": rng.choice(world.addresses()[:9]),
        b"DOCKER_HOST": rng.choice(world.addresses()[:9]),
    }
    made.commands = {name: rng.choice(_SCRIPTS) for name in CLUSTER_COMMANDS}
    return made


CHEAP: tuple[Maker, ...] = (_help, _show_config, _runs, _old_run, _refused_input, _refused_input)
DEAR: tuple[Maker, ...] = (_run, _run, _run, _plan, _real, _doctor, _backend, _backend)
