"""How many tests a command ran, by what their runners print."""

import re

_UNITTEST = re.compile(r"^Ran (\d+) tests? in .*\n+(?:OK|FAILED|NO TESTS RAN)(.*)$", re.MULTILINE)
_PYTEST = re.compile(r"^=* ?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s\b", re.MULTILINE)
_NODE = re.compile(r"^(?:#|\u2139) (tests|skipped|todo) (\d+)$", re.MULTILINE)
_JEST = re.compile(r"^\s*Tests:? +((?:\d+ \w+(?:, | \| )?)+)", re.MULTILINE)
_MOCHA = re.compile(r"^\s+(\d+) (?:passing|failing)\b", re.MULTILINE)
_CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed", re.MULTILINE)
_GO = re.compile(r"^\s*--- (?:PASS|FAIL): ", re.MULTILINE)
_GO_TELLS_ALL = re.compile(r"^(?:=== RUN|\s*--- PASS: )", re.MULTILINE)
"""Without -v, go tells of failures only."""
_MAVEN = re.compile(
    r"Tests run: (\d+), Failures: \d+, Errors: \d+, Skipped: (\d+)\s*$", re.MULTILINE
)
_RSPEC = re.compile(r"^(\d+) examples?, \d+ failures?(?:, (\d+) pending)?", re.MULTILINE)
_PHPUNIT = re.compile(r"^(?:OK \(|Tests: )(\d+)(?: tests?)?, (?:.*Skipped: (\d+))?", re.MULTILINE)
_NO_COUNT = re.compile(r"\d{10,}")  # int() refuses what has thousands of digits
_NUMBERED = re.compile(r"(\d+) (\w+)")
_RAN = {"passed", "failed", "xpassed"}


def count_tests(output: str) -> int:
    """Those that were run to their end, all runners together; skipped ones and those expected to
    fail are none. 0 where the output tells none."""
    output = _NO_COUNT.sub("0", output)
    ran = sum(
        int(n) - _sum(r"=(\d+)", _without_failures(rest)) for n, rest in _UNITTEST.findall(output)
    )
    for line in (*_PYTEST.findall(output), *_JEST.findall(output)):
        ran += sum(int(n) for n, name in _NUMBERED.findall(line) if name in _RAN)
    ran += sum(int(n) if name == "tests" else -int(n) for name, n in _NODE.findall(output))
    ran += sum(map(int, _MOCHA.findall(output)))
    ran += len(_GO.findall(output)) if _GO_TELLS_ALL.search(output) else 0
    ran += sum(int(passed) + int(failed) for passed, failed in _CARGO.findall(output))
    for total, skipped in (
        *_MAVEN.findall(output)[-1:],
        *_RSPEC.findall(output),
        *_PHPUNIT.findall(output),
    ):
        ran += int(total) - int(skipped or 0)
    return max(0, ran)


def _without_failures(counts: str) -> str:
    """Of (failures=1, errors=1, skipped=2, expected failures=1), those that were not run."""
    return re.sub(r"(?<!expected )(failures|errors|unexpected successes)=\d+", "", counts)


def _sum(pattern: str, text: str) -> int:
    return sum(map(int, re.findall(pattern, text)))
