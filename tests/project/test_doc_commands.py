"""Every command of README and docs is carried out as it is written there, in the order of its page.

With --real, Claude is the simulated one over HTTP. What cannot be carried out here is in NOT_HERE
with its reason; test_docs.py has the command line understand all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude.simulation.server import serve
from core.bundle import SimulationSettings
from core.clock import SystemClock
from tests.fakes.surroundings import free_port
from tests.project.doc_commands import Command, File, Shell, read_steps, surroundings
from tests.project.doc_pages import PAGES, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # a page may have many commands

NOT_HERE = {
    r"--docker(?!-use-bedrock|-bedrock|-aws)": "needs a Docker Engine: tests/live/test_docker_*",
    r"^(\(?cd docker|docker )": "needs a Docker Engine: tests/project/test_docker_build.py",
    r"--slurm": "needs Slurm: tests/live/test_slurm_*",
    r"^sbatch ": "needs Slurm",
    r"--batch": "needs an account of AWS: tests/live/test_batch_*",
    r"--parallelcluster|--aws ": "needs a cluster: tests/live/test_parallelcluster_*",
    r"^(aws|pcluster|REGISTRY=)": "the tools of AWS, with an account",
    r"^(\S+/pip|python3.11 -m venv)": "needs a cluster's network",
    r"^make ": "makes an environment; that the target exists is tested in test_docs.py",
    r"\bpytest\b|^python -m bench": "the tests and the benchmarks themselves",
    r"^pip install|--backend subprocess": "needs the package there: test_packaging.py",
    r"import parallel_task_orchestrator": "needs the installed package: test_packaging.py",
}
FROM_NOTHING = ("README.md", "tutorial.md")
"""Pages that themselves tell of the key; readers of the others have set it."""
OF_THE_MACHINE = ("python3 orchestrator.py doctor",)
"""What these print differs by machine."""


def reason_against(command: Command) -> str:
    return next((why for text, why in NOT_HERE.items() if re.search(text, command.text)), "")


def steps_of(page: Path) -> list[Command | File]:
    return [step for step in read_steps(page) if isinstance(step, File) or not reason_against(step)]


RUN = [p for p in (*PAGES, ROOT / "docker" / "README.md") if any(
    isinstance(step, Command) for step in steps_of(p)
)]  # fmt: skip


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    with serve(0, SimulationSettings(speed=0), SystemClock()) as server:
        env = dict(surroundings(tmp_path, server.base_url))
        shell = Shell(tmp_path, env, monkeypatch, capfd)
        yield shell
        shell.close()


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_do_what_it_says(page: Path, shell: Shell) -> None:
    port = str(free_port())
    if page.name not in FROM_NOTHING:
        shell.env["ANTHROPIC_API_KEY"] = "any"
    earlier = Command("python3 orchestrator.py 'Count words' --output-dir earlier")
    if re.search(r"\b(resume|cancel|clean|report|watch|show) last", page.read_text("utf-8")):
        assert shell.carry_out(earlier)[0] == 0  # the run that such a page is about
    for step in steps_of(page):
        if isinstance(step, File):
            (shell.home / step.name).write_text(step.text, encoding="utf-8")
            continue
        step = Command(step.text.replace("8788", port), step.printed)
        code, told = shell.carry_out(step)
        assert step.printed is not None or code == 0, f"{step.text}\n{told}"
        if not step.text.startswith(OF_THE_MACHINE):
            for line in step.printed or ():
                assert " ".join(line.strip(".").split()) in " ".join(told.split()), told


def test_nothing_is_left_out_for_a_reason_that_no_command_has() -> None:
    texts = [s.text for page in PAGES for s in read_steps(page) if isinstance(s, Command)]
    texts += [s.text for s in read_steps(ROOT / "docker" / "README.md") if isinstance(s, Command)]
    assert [why for why in NOT_HERE if not any(re.search(why, text) for text in texts)] == []
