"""Runs the checks of a request, each in a process of its own that takes its servers with it.

A check is a function `check_NAME(product)` in a request's `checks*.py`, with a docstring of one
sentence; it raises if the product does not do what the sentence says.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

from bench.outcome.product import Product

HERE = Path(__file__).parent
LIMIT_S = 20.0
IGNORED = shutil.ignore_patterns("__pycache__", ".git", "*.db", "*.sqlite*")

Check = Callable[[Product], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one check; `detail` says why it failed and is empty if it passed."""

    name: str
    sentence: str
    detail: str
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.detail


def requests() -> list[str]:
    """The names of all requests."""
    return sorted(path.parent.name for path in HERE.glob("*/request.txt"))


def load_checks(request: str) -> dict[str, Check]:
    """The checks of a request by name, in the order in which they stand in `checks*.py`."""
    modules = sorted(path.stem for path in (HERE / request).glob("checks*.py"))
    return {
        name.removeprefix("check_"): function
        for module in modules
        for name, function in vars(load_module(f"{request}.{module}")).items()
        if name.startswith("check_")
    }


def load_module(name: str) -> ModuleType:
    return importlib.import_module(f"bench.outcome.{name}")


def run_checks(
    codebase: Path, checks: Mapping[str, Check], limit_s: float = LIMIT_S
) -> Iterator[Result]:
    """Runs the checks one after another on a copy of the codebase, which stays as it is."""
    with tempfile.TemporaryDirectory(prefix="outcome-", ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "codebase"
        shutil.copytree(codebase, root, ignore=IGNORED, symlinks=True)
        shared = Path(folder) / "shared"
        shared.mkdir()
        for name, check in checks.items():
            work = Path(folder) / f"check-{name}"
            work.mkdir()
            yield run_check(name, check, Product(root, work, shared), limit_s)


def run_check(name: str, check: Check, product: Product, limit_s: float) -> Result:
    sentence = " ".join((check.__doc__ or "").split())
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=report, args=(check, product, sender)
    )
    began = time.monotonic()
    process.start()
    sender.close()
    detail = f"not done after {limit_s:.0f} s"
    if receiver.poll(limit_s):
        try:
            detail = receiver.recv()
        except EOFError:
            detail = "its process died"
    end_group(process)
    return Result(name, sentence, detail, time.monotonic() - began)


def report(check: Check, product: Product, sender: Connection) -> None:
    """The child: leads a process group, so that all it starts can be ended by one id."""
    os.setsid()
    try:
        check(product)
    except BaseException as error:  # noqa: BLE001 - whatever it is, this check alone has failed
        sender.send(explain(error))
    else:
        sender.send("")


def explain(error: BaseException) -> str:
    """One line: what was raised, and the line of the check where."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.name.startswith("check_")]
    place = f" [{own[-1].lineno}: {own[-1].line}]" if own else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}{place}"


def end_group(process: multiprocessing.process.BaseProcess) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()
    process.join()


def same(found: object, expected: object) -> None:
    assert found == expected, f"found {found!r}, expected {expected!r}"
