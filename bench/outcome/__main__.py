"""Judges a codebase by the black-box checks of the request that it answers.

python -m bench.outcome DIR --request NAME [--only CHECK ...] [--limit SECONDS] [--json]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from bench.outcome.suite import LIMIT_S, Check, Result, load_checks, requests, run_checks


def main() -> None:
    options = parse_options()
    checks = chosen(load_checks(options.request), options.only)
    results = []
    for result in run_checks(options.codebase, checks, options.limit):
        results.append(result)
        if not options.json:
            print(render(result), flush=True)
    passed = sum(result.passed for result in results)
    if options.json:
        checked = [{**asdict(result), "passed": result.passed} for result in results]
        score = {"request": options.request, "passed": passed, "of": len(results)}
        print(json.dumps({**score, "checks": checked}, indent=2))
    else:
        print(f"{options.request}: {passed} of {len(results)}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.outcome", description=__doc__)
    parser.add_argument("codebase", type=Path, metavar="DIR")
    parser.add_argument("--request", required=True, choices=requests())
    parser.add_argument("--only", nargs="+", default=[], metavar="CHECK")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.codebase.is_dir():
        parser.error(f"{options.codebase} is no directory")
    return options


def chosen(checks: dict[str, Check], names: list[str]) -> dict[str, Check]:
    return {name: check for name, check in checks.items() if not names or name in names}


def render(result: Result) -> str:
    mark = "pass" if result.passed else "FAIL"
    line = f"{mark}  {result.name}  {result.sentence} ({result.seconds:.1f} s)"
    return line if result.passed else f"{line}\n      {result.detail}"


if __name__ == "__main__":
    main()
