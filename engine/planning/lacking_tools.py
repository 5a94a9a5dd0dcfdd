"""Tells, before a task is paid for, which of a plan's tools are not where its checks will run."""

import shutil
from contextlib import closing

from backends import backend_class
from backends.base import Backend, BackendContext
from core.checks.toolchain import PYTHON, TOOLCHAINS, missing_programs, programs_of
from core.plan import Plan


def lacking_tools(plan: Plan, backend: Backend) -> str:
    """A notice; empty where nothing lacks, or nobody knows."""
    image = backend.programs
    if image:
        lacking = [name for name in programs_of(plan.setup.tools) if name not in image]
        addable = [name for name, program in TOOLCHAINS.items() if program in lacking]
        fix = "Use an image that has it: docker/README.md tells how to derive one."
        if addable:
            fix = f"Build the image with it: docker/build.sh --with {','.join(addable)}."
        return _notice(lacking, "in the image", fix)
    if backend.checks_run_in == "host" and shutil.which("bwrap") is not None:
        return _notice(missing_programs(plan.setup.tools), "on this machine", "Install it.")
    return ""


def foresee_lacking_tools(plan: Plan, backend: str, context: BackendContext) -> str:
    """The same without a run: an image is looked at now, as far as there is one."""
    with closing(backend_class(backend).build(context)) as built:
        if built.checks_run_in == "container" and {*programs_of(plan.setup.tools)} - {PYTHON}:
            built.preflight()
        return lacking_tools(plan, built)


def _notice(lacking: list[str], where: str, fix: str) -> str:
    if not lacking:
        return ""
    verb = "is" if len(lacking) == 1 else "are"
    named = " and ".join(lacking)
    return f'{named} {verb} not {where}, so what needs it will be "not proven". {fix}'
