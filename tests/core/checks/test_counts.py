import pytest

from core.checks.counts import count_tests

PRINTED = {
    "unittest": ("..\n-----\nRan 12 tests in 0.001s\n\nOK\n", 12),
    "unittest, some skipped": ("Ran 12 tests in 0.001s\n\nOK (skipped=1)\n", 11),
    "unittest, failures and expected ones": (
        "Ran 9 tests in 1.2s\n\nFAILED (failures=2, errors=1, skipped=3, expected failures=1)\n",
        5,
    ),
    "unittest, none": ("Ran 0 tests in 0.000s\n\nOK\n", 0),
    "unittest, twice": ("Ran 2 tests in 0.1s\n\nOK\nmore\nRan 3 tests in 0.1s\n\nOK\n", 5),
    "pytest": ("=== 2 failed, 10 passed, 3 skipped, 1 xfailed, 4 deselected in 1.20s ===\n", 12),
    "pytest, quiet": ("........\n1 failed, 8 passed in 59.61s\n", 9),
    "pytest, a minute": ("8 passed in 61.61s (0:01:01)\n", 8),
    "node, TAP": ("# tests 12\n# suites 0\n# pass 9\n# fail 1\n# skipped 1\n# todo 1\n", 10),
    "node, for people": ("\u2139 tests 3\n\u2139 pass 3\n\u2139 skipped 0\n\u2139 todo 0\n", 3),
    "jest": ("Tests:       1 failed, 1 skipped, 12 passed, 14 total\n", 13),
    "vitest": ("      Tests  1 failed | 11 passed | 1 skipped (13)\n   Duration  1.2s\n", 12),
    "mocha": ("  12 passing (20ms)\n  1 pending\n  2 failing\n", 14),
    "cargo": (
        "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in\n"
        "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; x\n",
        6,
    ),
    "go": (
        "=== RUN   TestA\n--- PASS: TestA (0.00s)\n    --- FAIL: TestB/x (0.00s)\n--- SKIP: C",
        2,
    ),
    "go, which tells of failures only": ("--- FAIL: TestA (0.00s)\nFAIL\n", 0),
    "maven": (
        "Tests run: 2, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 0.03 s -- in a.B\n"
        "Tests run: 5, Failures: 0, Errors: 0, Skipped: 1\n",
        4,
    ),
    "rspec": ("12 examples, 1 failure, 2 pending\n", 10),
    "phpunit": ("OK (12 tests, 20 assertions)\n", 12),
    "phpunit, some skipped": ("Tests: 12, Assertions: 20, Skipped: 2.\n", 10),
    "no number of tests": (f"Ran {'9' * 5000} tests in 0.1s\n\nOK\n", 0),
    "a compiler": ("src/cli.ts(1,9): error TS2724\n", 0),
}


@pytest.mark.parametrize(("output", "count"), PRINTED.values(), ids=PRINTED)
def test_the_tests_that_ran_to_their_end_are_counted(output: str, count: int) -> None:
    assert count_tests(output) == count
