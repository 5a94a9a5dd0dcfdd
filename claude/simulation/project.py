"""The simulated Claude's mind: a prompt becomes a plan, and every file its tasks will write.

Pure: the same prompt and seed give the same bytes, in every process and on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from claude.simulation.blueprint import build_blueprint
from claude.simulation.lexicon import read_prompt
from claude.simulation.small import small_project
from claude.simulation.tasks import application
from claude.simulation.unplanned import write_unplanned
from core.plan import Plan

__all__ = ["SimulatedProject", "design_project", "write_unplanned"]


@dataclass(frozen=True, slots=True)
class SimulatedProject:
    """`files` holds, by task id, the content of every file the task owns, by path."""

    plan: Plan
    files: Mapping[str, Mapping[str, str]]


@lru_cache(maxsize=8)
def design_project(prompt: str, seed: int) -> SimulatedProject:
    """A project for any prompt: one task for a small job, otherwise 8 to 12.

    The plan is free of defects; with the contracts' content the files are a program that works.
    """
    reading = read_prompt(prompt)
    if reading.is_small:
        return SimulatedProject(*small_project(prompt, reading, seed))
    return SimulatedProject(*application(build_blueprint(prompt, reading, seed)))
