"""The sample projects that a simulation delivers: each a plan and the files that its tasks write.

samples/<name>/plan.json is a plan as `--plan` takes it, and files/ holds every file that its tasks
own, at its final path. The same prompt gives the same sample in every process.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.paths import is_owned
from core.plan import Plan, parse_plan, promised_contracts

_SAMPLES = Path(__file__).parent / "samples"
# Words of a prompt that ask for each sample; the first is delivered where nothing speaks for one.
KEYWORDS: Mapping[str, str] = {
    "todo": "todo todos task tasks checklist note notes reminder reminders",
    "word_count": "script function snippet utility word words text count counts counter calculate"
    " convert converts number numbers print prints file files rename renames hello",
    "shop": "shop shops product products cart order orders customer customers checkout commerce"
    " ecommerce inventory library book books member members booking bookings tracker",
}


FilesByTask = Mapping[str, Mapping[str, str]]
"""By task id and path, the content of every file that a task writes."""


@dataclass(frozen=True, slots=True)
class SampleProject:
    plan: Plan
    files: FilesByTask


@dataclass(frozen=True, slots=True)
class Designer:
    """What a simulation delivers: `plan` from a prompt; `files` from the title of the plan that is
    carried out and the contracts that its tasks use, empty where it is no plan of ours."""

    plan: Callable[[str], Plan]
    files: Callable[[str, Collection[str]], FilesByTask]


def plan_sample(prompt: str) -> Plan:
    return load_sample(choose_sample(prompt)).plan


def find_sample(plan_title: str, contracts: Collection[str] = ()) -> SampleProject | None:
    """The one with that title, or with these contracts: a person may edit a plan."""
    for sample in map(load_sample, KEYWORDS):
        paths = set(promised_contracts(sample.plan))
        if sample.plan.title == plan_title or (paths and paths <= set(contracts)):
            return sample
    return None


def find_sample_files(plan_title: str, contracts: Collection[str]) -> FilesByTask:
    sample = find_sample(plan_title, contracts)
    return sample.files if sample else {}


def choose_sample(prompt: str) -> str:
    """The name of the sample that shares the most words with the prompt."""
    words = set(re.findall("[a-z]+", prompt.lower()))
    return max(KEYWORDS, key=lambda name: len(words.intersection(KEYWORDS[name].split())))


@cache
def load_sample(name: str) -> SampleProject:
    path, root = _SAMPLES / name / "plan.json", _SAMPLES / name / "files"
    plan = parse_plan(path.read_text(encoding="utf-8"), str(path))
    tree = {
        file.relative_to(root).as_posix(): file.read_text(encoding="utf-8")
        for file in sorted(root.rglob("*"))
        if file.is_file() and file.suffix != ".pyc"
    }
    files = {
        task.id: {p: tree[p] for entry in task.owns for p in tree if is_owned((entry,), p)}
        for task in plan.tasks
    }
    return SampleProject(plan, files)
