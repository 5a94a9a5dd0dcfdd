"""By which names common languages tell tests, what decides which of them run, and the files that
name what a project depends upon."""

import re

_TEST_NAMES = re.compile(
    r"test_[^/]*|tests?\.\w+|[^/]*_(test|spec)s?\.\w+|[^/]*[.-](test|spec)s?\.\w+|test-[^/]*"
    r"|[^/]*(Tests?|TestCase|Spec|IT)\.(java|kt|scala|groovy|cs|php|swift)|[^/]*\.(bats|snap)"
)
_TEST_DIRECTORIES = {
    "test",
    "tests",
    "testing",
    "__tests__",
    "__snapshots__",
    "spec",
    "specs",
    "e2e",
    "testdata",
    "fixtures",
    "__fixtures__",
    "golden",
}
_CHECKING_SCRIPT = re.compile(r"(?:.*/)?(?:scripts|tools|ci)/(?:check|verify|smoke|lint)[^/]*")
_RUNNER_NAMES = re.compile(
    r"conftest\.py|sitecustomize\.py|usercustomize\.py|[^/]*\.pth|\.?(pytest|tox|mypy)\.(ini|toml)"
    r"|\.coveragerc|noxfile\.py|GNUmakefile|[Mm]akefile|[Jj]ustfile|\.(mocharc|eslintrc|taprc)[^/]*"
    r"|(jest|vitest|karma|ava|playwright|cypress|eslint|babel)\.(config|setup)\.\w+"
    r"|\.?(ruff|clippy|nextest)\.toml|phpunit\.xml[^/]*|\.rspec|\.npmrc|\.golangci\.\w+"
    r"|(unittest|pytest|doctest)(\.py)?|__mocks__|\.cargo|setupTests\.\w+|vitest\.workspace\.\w+"
    r"|\.flake8|\.?pylintrc|pyrightconfig\.json|biome\.jsonc?|bunfig\.toml|\.eslintignore"
)
_MANIFEST_NAMES = re.compile(
    r"requirements[^/]*\.txt|pyproject\.toml|setup\.(py|cfg)|Pipfile|package\.json|go\.mod"
    r"|Cargo\.toml|pom\.xml|build\.gradle(\.kts)?|Gemfile|composer\.json|environment\.ya?ml"
)


def is_test(path: str) -> bool:
    """Whether it is a test, or lies among tests: data and helpers of tests do."""
    *directories, name = path.split("/")
    among_tests = not _TEST_DIRECTORIES.isdisjoint(map(str.lower, directories))
    return among_tests or bool(_TEST_NAMES.fullmatch(name) or _CHECKING_SCRIPT.fullmatch(path))


def steers_tests(path: str) -> bool:
    """Whether it decides, as a whole, which tests run or how they are judged."""
    return any(_RUNNER_NAMES.fullmatch(name) for name in path.split("/"))


def is_manifest(path: str) -> bool:
    return bool(_MANIFEST_NAMES.fullmatch(path.rpartition("/")[2]))
