"""Lock files: what a tool resolved from a manifest. The text of two is never merged."""

from pathlib import PurePosixPath

# Each adds what the manifest has anew, keeps the other versions where the tool can do that, and
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


def lock_command(path: str) -> str:
    """What makes this lock file anew, to be run in its directory; empty where it is none."""
    return _COMMANDS.get(PurePosixPath(path).name, "")
