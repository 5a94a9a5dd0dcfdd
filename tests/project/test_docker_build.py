"""docker/build.sh without an engine: its options, its messages and what it hands to Docker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.bundle import WIRE_VERSION
from core.worker.source import SOURCE_ROOT, source_digest, worker_files
from orchestrator import VERSION

Build = Callable[..., subprocess.CompletedProcess[str]]
RECORDING = """#!/bin/sh
case "$1" in
  version) echo 20.10.24; echo "${ENGINE_SAYS:-}" >&2; exit "${ENGINE:-0}" ;;
  build)
    printf '%s\\n' "$@" > "$RECORD/arguments"
    for context; do :; done
    cp -R "$context" "$RECORD/context"
    exit "${BUILD:-0}" ;;
esac
exit 99
"""
NEEDED = ("bash", "cat", "cp", "dirname", "mkdir", "mktemp", "rm", "sed", "sh", "tar")
CONTEXT = (
    "docker/Dockerfile",
    "docker/package-lock.json",
    "docker/package.json",
    "docker/requirements-npm.txt",
    "docker/requirements.txt",
)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    (tmp_path / "record").mkdir()
    return tmp_path / "record"


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A PATH with a docker that writes down what it is asked for."""
    place = tmp_path / "bin"
    place.mkdir()
    scripts = {"docker": RECORDING, "python3": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'}
    for name, script in scripts.items():
        (place / name).write_text(script)
        (place / name).chmod(0o755)
    for name in NEEDED:
        (place / name).symlink_to(str(shutil.which(name)))
    return place


@pytest.fixture
def build(tmp_path: Path, commands: Path, record: Path) -> Build:
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def run(
        *arguments: str, root: Path = SOURCE_ROOT, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        needed = {"PATH": str(commands), "RECORD": str(record), "TMPDIR": str(scratch)}
        command = [str(root / "docker" / "build.sh"), *arguments]
        done = subprocess.run(command, env=needed | environ, capture_output=True, text=True)
        assert list(scratch.iterdir()) == [], "the context was left behind"
        return done

    return run


def asked(record: Path) -> list[str]:
    return (record / "arguments").read_text().splitlines()


def after(arguments: list[str], option: str) -> list[str]:
    return [arguments[i + 1] for i, a in enumerate(arguments) if a == option]


def test_the_context_is_the_code_of_the_worker_and_what_the_dockerfile_copies(
    build: Build, record: Path
) -> None:
    assert build().returncode == 0
    context = record / "context"
    held = sorted(p.relative_to(context).as_posix() for p in context.rglob("*") if p.is_file())
    assert held == sorted([*CONTEXT, *(f"source/{name}" for name in worker_files(SOURCE_ROOT))])
    assert source_digest(context / "source") == source_digest(SOURCE_ROOT)


def test_docker_is_told_version_digest_and_wire(build: Build, record: Path) -> None:
    done = build()
    assert set(after(asked(record), "--build-arg")) == {
        f"VERSION={VERSION}",
        f"SOURCE_DIGEST={source_digest(SOURCE_ROOT)}",
        f"WIRE_VERSION={WIRE_VERSION}",
        "TOOLCHAINS=python,node",
    }
    assert f"source {source_digest(SOURCE_ROOT)}" in done.stdout


@pytest.mark.parametrize(
    ("options", "stage", "tag"),
    [
        ((), "full", "parallel-orchestrator:latest"),
        (("--slim",), "slim", "parallel-orchestrator:slim"),
        (("--tag", "mine:1"), "full", "mine:1"),
        (("--slim", "--tag=mine:1"), "slim", "mine:1"),
    ],
)
def test_slim_and_tag_choose_stage_and_name(
    build: Build, record: Path, options: tuple[str, ...], stage: str, tag: str
) -> None:
    assert f"Built {tag} " in build(*options).stdout
    assert after(asked(record), "--target") == [stage]
    assert after(asked(record), "-t") == [tag]


@pytest.mark.parametrize(
    ("options", "toolchains", "packages"),
    [
        (("--with", "go"), "python,node,go", "golang-go"),
        (("--with=go,ruby",), "python,node,go,ruby", "golang-go ruby ruby-bundler"),
        (("--slim", "--with", "rust", "--with=make"), "python,rust,make", "cargo rustc make"),
    ],
)
def test_toolchains_are_packages_of_debian(
    build: Build, record: Path, options: tuple[str, ...], toolchains: str, packages: str
) -> None:
    assert build(*options).returncode == 0
    told = after(asked(record), "--build-arg")
    assert {f"TOOLCHAINS={toolchains}", f"PACKAGES={packages}"} <= set(told)


@pytest.mark.parametrize("options", [("--base-image", "a:mine"), ("--base-image=a:mine",)])
def test_another_base_image_is_a_build_argument(
    build: Build, record: Path, options: tuple[str, ...]
) -> None:
    build(*options)
    assert "BASE_IMAGE=a:mine" in after(asked(record), "--build-arg")


def test_what_follows_two_dashes_goes_to_docker_as_it_is(build: Build, record: Path) -> None:
    build("--slim", "--", "--network", "host", "--label", "a=b c")
    arguments = asked(record)
    assert after(arguments, "--network") == ["host"]
    assert after(arguments, "--label") == ["a=b c"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--fat",), "--fat"),
        (("slim",), "slim"),
        (("--tag",), "--tag"),
        (("--tag", "--slim"), "--tag"),
        (("--tag=",), "--tag"),
        (("--base-image", ""), "--base-image"),
        (("--with", "go,cobol"), "cobol"),
        (("--with=go;reboot",), "go;reboot"),
        (("--with", "*"), "*"),
        (("--with",), "--with"),
    ],
)
def test_a_wrong_option_is_one_message_and_no_build(
    build: Build, record: Path, options: tuple[str, ...], named: str
) -> None:
    done = build(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (record / "arguments").exists()


def test_help_names_each_option(build: Build) -> None:
    done = build("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(
        option in done.stdout for option in ("--slim", "--with", "--base-image", "--tag", "--")
    )


@pytest.mark.parametrize("command", ["docker", "python3"])
def test_a_missing_command_is_named(build: Build, commands: Path, command: str) -> None:
    (commands / command).unlink()
    done = build()
    assert done.returncode == 1
    assert f"{command} was not found" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_python_that_fails_is_named(build: Build, commands: Path, record: Path) -> None:
    (commands / "python3").write_text("#!/bin/sh\nexit 1\n")
    done = build()
    assert done.returncode == 1
    assert "python3" in done.stderr
    assert not (record / "arguments").exists()


def test_another_python_can_be_named(build: Build, commands: Path) -> None:
    (commands / "python3").rename(commands / "python3.77")
    assert build(PYTHON="python3.77").returncode == 0


def test_an_engine_that_does_not_answer_is_said_in_its_own_words(build: Build) -> None:
    done = build(ENGINE="1", ENGINE_SAYS="permission denied on the socket")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "permission denied on the socket" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_failed_build_fails_and_claims_nothing(build: Build) -> None:
    done = build("--base-image", "no/such", BUILD="1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no/such" in done.stderr


def copy_of_the_program(where: Path) -> Path:
    shutil.copytree(SOURCE_ROOT / "docker", where / "docker")
    for name in ("orchestrator.py", *worker_files(SOURCE_ROOT)):
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SOURCE_ROOT / name, where / name)
    return where


def test_it_builds_from_a_directory_whose_name_has_spaces(
    build: Build, record: Path, tmp_path: Path
) -> None:
    root = copy_of_the_program(tmp_path / "with 'odd' name")
    assert build(root=root).returncode == 0
    assert source_digest(record / "context" / "source") == source_digest(root)


def test_modes_of_the_checkout_do_not_reach_the_image(
    build: Build, record: Path, tmp_path: Path
) -> None:
    root = copy_of_the_program(tmp_path / "copy")
    (root / "core" / "job.py").chmod(0o666)
    build(root=root)
    assert not (record / "context" / "source" / "core" / "job.py").stat().st_mode & 0o022


@pytest.mark.parametrize(
    ("name", "line"), [("core/bundle.py", "WIRE_VERSION"), ("orchestrator.py", "VERSION")]
)
def test_a_directory_that_is_not_whole_is_refused(
    build: Build, record: Path, tmp_path: Path, name: str, line: str
) -> None:
    root = copy_of_the_program(tmp_path / "copy")
    (root / name).write_text("# nothing\n")
    done = build(root=root)
    assert done.returncode == 1
    assert line in done.stderr
    assert not (record / "arguments").exists()


SCRIPTS = ["docker/build.sh", ".ci/run"] + [
    p.relative_to(SOURCE_ROOT).as_posix()
    for p in sorted((SOURCE_ROOT / "tests" / "services").glob("*.sh"))
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_executable_and_parses(script: str) -> None:
    assert os.access(SOURCE_ROOT / script, os.X_OK)
    done = subprocess.run(["bash", "-n", SOURCE_ROOT / script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def engine_script(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    script = SOURCE_ROOT / "tests" / "services" / "docker_engine.sh"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DOCKER")}
    command = [str(script), *arguments]
    return subprocess.run(command, env=kept | environ, capture_output=True, text=True)


def test_the_engine_script_refuses_what_it_does_not_know() -> None:
    done = engine_script("frobnicate")
    assert done.returncode == 2
    assert "usage" in done.stderr


@pytest.mark.parametrize("what", ["start", "ready"])
def test_the_engine_script_starts_nothing_beside_a_named_engine_that_is_down(
    tmp_path: Path, what: str
) -> None:
    place = tmp_path / "engine"
    absent = f"unix://{tmp_path}/absent.sock"
    done = engine_script(what, DOCKER_HOST=absent, DOCKER_ENGINE_DIR=str(place))
    assert done.returncode == 1
    assert "answer" in done.stderr
    assert not place.exists()
