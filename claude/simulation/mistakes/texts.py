"""Mistakes as pure functions: what one makes of a file's text, or of a command.

Each gives the text back as it was where it has nothing to hold on to. They go by the text alone,
not by tokens, so that every version of Python makes the same bytes.
"""

import re

MISSING_PACKAGE = "simulated_dependency"
_FUTURE = "from __future__ import annotations\n"
_BREAKS = (
    ('if row["id"] == record_id', 'if row["id"] != record_id'),
    ("if route.method == self.command", "if route.method != self.command"),
    ("if len(value) > MAX_TEXT_CHARS", "if len(value) < MAX_TEXT_CHARS"),
    ('if args.command == "serve"', 'if args.command != "serve"'),
    ("if not record.completed:", "if record.completed:"),
    ("if not record.paid:", "if record.paid:"),
    ("completed=True)", "completed=False)"),
    ("paid=True)", "paid=False)"),
    ("HTTPStatus.CREATED", "HTTPStatus.OK"),
    ("len(text.split())", 'len(text.split(" "))'),
)
CHEATS = ("delete", "skip", "loosen")
_TEST = re.compile(r"^    def (test_\w+)\(", re.MULTILINE)
_ASSERTION = re.compile(r"\bself\.assert(?:Equal|In|NotIn|Is)\(")


def rename(text: str, name: str) -> str:
    """Another name in its place, everywhere."""
    return re.sub(rf"\b{name}\b", _other_name(name), text)


def keep_both(text: str, name: str) -> str:
    """That a function can be called by its other name, too."""
    return f"{text}\n\n{_other_name(name)} = {name}\n"


def _other_name(name: str) -> str:
    first = "OTHER_" if name.isupper() else "other_" if name.islower() else "Other"
    return f"{first}{name}"


def break_behaviour(text: str) -> str:
    """Valid code that does another thing, which the sample's tests see."""
    for right, wrong in _BREAKS:
        if right in text:
            return text.replace(right, wrong)
    return text


def import_missing(text: str) -> str:
    """A package that is nowhere."""
    return text.replace(_FUTURE, f"{_FUTURE}\nimport {MISSING_PACKAGE}\n", 1)


def flaky(command: str) -> str:
    """Fails every second time that it is run in the same place, beginning with the first."""
    mark = ".simulated_flaky"
    fails = f"{{ touch {mark}; echo 'simulated: it fails every second time'; false; }}"
    return f"rm {mark} 2>/dev/null || {fails} && {command}"


def hear_nothing(command: str) -> str:
    """A check that cannot fail."""
    return f"{command} || true"


def test_names(text: str) -> list[str]:
    return _TEST.findall(text)


def cheat(text: str, test: str, way: str) -> str:
    """Have the test with that name show no more, in one of the ways of CHEATS."""
    body = re.search(rf"^    def {test}\(.*?(?=^    def |^    @|^\S|\Z)", text, re.DOTALL | re.M)
    if body is None:
        return text
    skipped = f'    @unittest.skip("simulated")\n{body[0]}'
    loose = _ASSERTION.sub("self.assertIsNotNone(", body[0])
    less = {"delete": "", "skip": skipped, "loosen": loose if loose != body[0] else skipped}[way]
    return text.replace(body[0], less, 1)


def take_back(contract: str) -> str:
    """A contract without what it promises last."""
    return contract.rstrip().rpartition("\n")[0] + "\n"


def leave(text: str) -> str:
    """What somebody does who has found nothing: a remark at the end of Python code."""
    return f"{text}\n# Simulated: looked at, and left as it was.\n"
