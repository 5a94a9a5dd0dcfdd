"""The pytest plugin of an installation, which makes parallel_task_orchestrator.conformance usable.

pytest loads it in every run of its environment. It does nothing unless the configuration of the
tests says `parallel_orchestrator = true`: then the program's modules, which are in a private
folder, can be imported as they can in the program.
"""

import sys
from pathlib import Path

import pytest

from parallel_task_orchestrator.launcher import home

ASKED = "parallel_orchestrator"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(ASKED, "make the modules of Parallel Task Orchestrator importable", "bool", False)


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    if early_config.getini(ASKED):
        sys.path.insert(0, str(home(Path(__file__).resolve().parent)))
