"""Starts a program: what cannot be imported, and Ctrl-C meanwhile, end it with one message.

It has to run where the rest cannot, so it imports next to nothing and reads on an older Python.
"""

import os
import sys

OLDEST_PYTHON = (3, 11)
PACKAGES = {
    "anthropic": "2.12",
    "click": "8.2",
    "genai-prices": "0.2",
    "pydantic": "2.12",
    "rich": "14",
}
"""What every command needs, from which version on, as pyproject.toml has it."""
REMEDY = (
    "Use a Python that has this program's packages (.venv/bin/python after 'make setup', or 'pip"
    " install .'), and keep others off PYTHONPATH."
)


class Imports:
    """While inside, Ctrl-C and whatever cannot be imported end the process with one message. A
    worker has no `remedy` of its own: who started it knows the place."""

    def __init__(self, exit_code: int, remedy: str = "") -> None:
        self.exit_code = exit_code
        self.remedy = remedy

    def __enter__(self) -> None:
        if sys.version_info < OLDEST_PYTHON:
            needed, found = ".".join(map(str, OLDEST_PYTHON)), sys.version.split()[0]
            self._end(f"Python {needed} or newer is needed, and this is {found}.")

    def __exit__(self, kind: object, exc: object, traceback: object) -> None:
        if is_interrupt(exc):
            _exit("Interrupted.", 130)
        if isinstance(exc, Exception) and "--debug" not in sys.argv:
            self._end(explain(exc))

    def _end(self, message: str) -> None:
        remedy = f"\n  {self.remedy}" if self.remedy else ""
        _exit(f"error: {message}{remedy}", self.exit_code)


def _exit(text: str, exit_code: int) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text + "\n")
    raise SystemExit(exit_code)


def is_interrupt(exc: object) -> bool:
    """Also where Python hands it on as the cause of another error, as it does out of the body of a
    class (`Error calling __set_name__ on ...`)."""
    while isinstance(exc, Exception):
        exc = exc.__cause__
    return isinstance(exc, KeyboardInterrupt)


def explain(exc: Exception) -> str:
    """What an error of an import means."""
    if isinstance(exc, ModuleNotFoundError):
        return f"The package {exc.name} is not installed for {sys.executable}."
    return f"A package cannot be used by {sys.executable}: {exc}."


def find_unusable() -> "list[str]":
    """A sentence for each of PACKAGES that is missing, too old or broken. Imports only those whose
    version is not written beside them."""
    from importlib import import_module
    from importlib.util import find_spec

    found = []
    for package, oldest in PACKAGES.items():
        name = package.replace("-", "_")
        spec = find_spec(name)
        folder = os.path.dirname(os.path.dirname(spec.origin)) if spec and spec.origin else ""
        version = _version_in(folder, name) if folder else ""
        try:
            if not version:
                import_module(name)
            elif _numbers(version) < _numbers(oldest):
                found.append(
                    f"The package {package} {version} in {folder} is too old: {oldest} or newer is"
                    " needed."
                )
        except Exception as exc:  # noqa: BLE001 - whatever an import may raise
            found.append(explain(exc))
    return found


def _version_in(folder: str, name: str) -> str:
    """The version that an installer has written there, if it is one."""
    import re

    written = re.compile(name + r"-(\d[^-]*?)(-py[\d.]+)?\.(dist|egg)-info", re.IGNORECASE)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = [match[1] for match in map(written.fullmatch, names) if match]
    return found[0] if len(found) == 1 else ""


def _numbers(version: str) -> "list[int]":
    import re

    return [int(number) for number in re.findall(r"\d+", version)[:2]]
