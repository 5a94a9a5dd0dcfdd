"""The faults that the simulation can inject, and how often each: the SPEC of --sim-faults.

Example: `rate_limit=0.1,disconnect=0.05`. Each number is the chance of one request (the first
four) or of one turn of the model (refusal and snooping are drawn once a task, and those from
mismatch on, which only the checks of the project show, once a plan).
"""

import difflib
from collections.abc import Mapping

from core.errors import SettingsError

FAULTS: Mapping[str, str] = {
    "rate_limit": "429 with retry-after",
    "overloaded": "529, or an error event in mid-stream",
    "server_error": "500 or 503",
    "disconnect": "the connection breaks in mid-stream",
    "truncate": "stops at max_tokens in the middle of a file",
    "bad_plan": "a plan that breaks a rule, or is cut",
    "bad_tool": "an unknown tool, a missing parameter, or malformed JSON",
    "escape": "writes to a path outside the workspace",
    "wrong_files": "writes to a file of another task, or over a contract",
    "refusal": "declines the request",
    "snooping": "looks for secrets with its shell",
    "mismatch": "two tasks disagree on the name of a function",
    "broken_code": "valid code that does another thing",
    "missing_dependency": "an import of a package that is nowhere",
    "bad_contract": "a contract has another name than the tests use",
    "flaky_check": "a check that fails every second time",
    "lying_check": "a check that cannot fail",
    "cheat": "the first repair deletes, skips or loosens a test",
}


def parse_faults(spec: str) -> dict[str, float]:
    """Chances by fault; those not named are absent. Raises SettingsError."""
    chances: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in spec.split(","))):
        name, equals, number = (part.strip() for part in item.partition("="))
        if name not in FAULTS:
            near = difflib.get_close_matches(name, FAULTS, n=1, cutoff=0.4)
            hint = f"Did you mean {near[0]}? " if near else ""
            known = f"{hint}There are: {', '.join(FAULTS)}."
            raise SettingsError(f"--sim-faults names no fault {name!r}.", known)
        if name in chances:
            raise SettingsError(f"--sim-faults names {name} twice.", "Leave one out.")
        chances[name] = _chance(name, number if equals else "")
    return chances


def _chance(name: str, number: str) -> float:
    try:
        chance = float(number)
    except ValueError:
        chance = -1.0
    if not 0.0 <= chance <= 1.0:
        raise SettingsError(
            f"--sim-faults gives {name} the chance {number!r}.",
            f"Give a number from 0 to 1, as in {name}=0.1.",
        )
    return chance
