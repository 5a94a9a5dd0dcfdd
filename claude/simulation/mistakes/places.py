"""All mistakes that a sample project can have, and so all texts that its files can come to."""

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from claude.simulation.mistakes.texts import (
    CHEATS,
    break_behaviour,
    cheat,
    flaky,
    hear_nothing,
    import_missing,
    keep_both,
    leave,
    rename,
    take_back,
    test_names,
)
from claude.simulation.sample_projects import SampleProject
from core.plan import Plan

_FUNCTION = re.compile(r"^def ([a-z]+_\w+)\(", re.MULTILINE)
_NAME = re.compile(r"^(?:class |def )?([A-Z]\w*(?:_|[a-z][A-Z])\w*)\b", re.MULTILINE)

Texts = Mapping[str, str]
"""By path."""


class Mistake(NamedTuple):
    """The files that have it, and those that a repairer writes to be rid of it."""

    texts: Texts
    mended: Texts


def commands_of(plan: Plan) -> list[str]:
    checks = [check for task in plan.tasks for check in task.checks]
    commands = [criterion.command for criterion in plan.acceptance_criteria]
    return [command for command in dict.fromkeys([*checks, *commands]) if command]


def tree_of(sample: SampleProject) -> dict[str, str]:
    """The whole sample as it should be."""
    contracts = {contract.path: contract.content for contract in sample.plan.contracts}
    return contracts | {p: text for files in sample.files.values() for p, text in files.items()}


def is_test(path: str) -> bool:
    return PurePosixPath(path).name.startswith("test_")


def is_code(path: str) -> bool:
    return path.endswith(".py") and not is_test(path)


def _mismatches(sample: SampleProject) -> list[Mistake]:
    """A function has another name where it is written, not where another task calls it."""
    found: list[Mistake] = []
    for task_id, files in sample.files.items():
        others = [
            text
            for other, theirs in sample.files.items()
            for path, text in theirs.items()
            if other != task_id and is_code(path)
        ]
        makers = {name: p for p in files if is_code(p) for name in _FUNCTION.findall(files[p])}
        for name, path in sorted(makers.items()):
            if any(re.search(rf"\b{name}\b", text) for text in others):
                found.append(Mistake(_renamed(files, name), {path: keep_both(files[path], name)}))
    return found


def _renamed(files: Texts, name: str) -> Texts:
    made = {path: rename(text, name) for path, text in files.items()}
    return {path: text for path, text in made.items() if text != files[path]}


def _bad_contracts(sample: SampleProject) -> list[Mistake]:
    """A contract has another name than the tests use; the code keeps to the contract."""
    tree = tree_of(sample)
    code = {path: text for path, text in tree.items() if not is_test(path)}
    tests = "".join(text for path, text in tree.items() if is_test(path))
    contracts = [c.content for c in sample.plan.contracts if c.path.endswith(".py")]
    names = sorted({name for text in contracts for name in _NAME.findall(text)})
    made = [_renamed(code, name) for name in names if re.search(rf"\b{name}\b", tests)]
    return [Mistake(texts, {path: tree[path] for path in texts}) for texts in made]


def _changed(change: Callable[[str], str]) -> Callable[[SampleProject], list[Mistake]]:
    """One file of code is changed."""

    def find(sample: SampleProject) -> list[Mistake]:
        files = [(p, t) for own in sample.files.values() for p, t in own.items() if is_code(p)]
        made = [(path, text, change(text)) for path, text in sorted(files)]
        return [Mistake({p: bad}, {p: good}) for p, good, bad in made if bad != good]

    return find


PLACES: Mapping[str, Callable[[SampleProject], list[Mistake]]] = {
    "mismatch": _mismatches,
    "broken_code": _changed(break_behaviour),
    "missing_dependency": _changed(import_missing),
    "bad_contract": _bad_contracts,
}
"""By fault, all mistakes of which one is made."""
FORMS: Mapping[str, tuple[Callable[[str], str], ...]] = {
    "flaky_check": (flaky,),
    "lying_check": (hear_nothing, lambda _: "true"),
}
"""By fault, what becomes of one command."""


def all_texts(sample: SampleProject) -> dict[str, set[str]]:
    """By path, all that a file of the sample can come to, also by a repair."""
    found = {path: {text} for path, text in tree_of(sample).items()}
    for mistake in (each for find in PLACES.values() for each in find(sample)):
        for path, text in (*mistake.texts.items(), *mistake.mended.items()):
            found[path].add(text)
    contracts = {contract.path for contract in sample.plan.contracts}
    for path, texts in found.items():
        left = {leave(text) for text in texts if path.endswith(".py")}
        cheats = [(t, name, way) for t in texts for name in test_names(t) for way in CHEATS]
        less = {take_back(text) for text in texts if path in contracts}
        texts |= left | less | {cheat(*each) for each in cheats if is_test(path)}
    return found


def all_commands(plan: Plan) -> set[str]:
    """All that a command of the sample's plan can come to."""
    forms = [form for each in FORMS.values() for form in each]
    return {made for c in commands_of(plan) for made in (c, *(form(c) for form in forms))}
