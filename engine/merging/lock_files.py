"""Lock files: what a tool resolved from a manifest. The text of two is never merged."""

from pathlib import PurePosixPath

# Each adds what the manifest has anew, and where the tool can do that keeps the other versions and
# runs no script of a package.
_COMMANDS = {
    "package-lock.json": "npm install --package-lock-only --ignore-scripts",
    "npm-shrinkwrap.json": "npm install --package-lock-only --ignore-scripts",
    "yarn.lock": "yarn install",
    "pnpm-lock.yaml": "pnpm install --lockfile-only --ignore-scripts",
    "bun.lock": "bun install --lockfile-only",
    "poetry.lock": "poetry lock",
    "uv.lock": "uv lock",
    "pdm.lock": "pdm lock --update-reuse",
    "Pipfile.lock": "pipenv lock",
    "Cargo.lock": "cargo update --workspace",
    "go.sum": "go mod tidy",
    "Gemfile.lock": "bundle lock",
    "composer.lock": "composer update --minimal-changes --no-install --no-scripts",
    "mix.lock": "mix deps.get",
    "pubspec.lock": "dart pub get",
}


_MANIFESTS = {
    "package-lock.json": "package.json",
    "npm-shrinkwrap.json": "package.json",
    "yarn.lock": "package.json",
    "pnpm-lock.yaml": "package.json",
    "bun.lock": "package.json",
    "poetry.lock": "pyproject.toml",
    "uv.lock": "pyproject.toml",
    "pdm.lock": "pyproject.toml",
    "Pipfile.lock": "Pipfile",
    "Cargo.lock": "Cargo.toml",
    "go.sum": "go.mod",
    "Gemfile.lock": "Gemfile",
    "composer.lock": "composer.json",
    "mix.lock": "mix.exs",
    "pubspec.lock": "pubspec.yaml",
}


def lock_command(path: str) -> str:
    """What makes this lock file anew, to be run in its directory; empty where it is none."""
    return _COMMANDS.get(path.rpartition("/")[2], "")


def manifest_of_lock(path: str) -> str:
    """The manifest beside it that this lock file is made from."""
    return str(PurePosixPath(path).with_name(_MANIFESTS[PurePosixPath(path).name]))
