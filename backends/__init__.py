"""The names of backends and their classes, which are imported only when chosen.

A package of others adds names by entry points of the group GROUP; those of the program win.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from inspect import isabstract
from typing import TYPE_CHECKING, NamedTuple

from core.errors import PreflightFailed, Problem, UsageError

if TYPE_CHECKING:
    from backends.base import Backend

GROUP = "parallel_task_orchestrator.backends"
BACKENDS = {
    "threading": "backends.threading_backend:ThreadingBackend",
    "docker": "backends.docker_backend:DockerBackend",
    "batch": "backends.aws_batch_backend:AwsBatchBackend",
    "slurm": "backends.slurm_backend:SlurmBackend",
    "parallelcluster": "backends.parallelcluster_backend:ParallelClusterBackend",
}


class Installed(NamedTuple):
    """A backend that a package of others declares: its name, `module:Class`, and the package."""

    name: str
    path: str
    package: str


def installed_backends() -> list[Installed]:
    """Those of all packages, by name; nothing of them is imported. A package whose own records
    cannot be read has none."""
    from importlib import metadata  # which takes its time, and is needed by few

    found = set()
    for package in metadata.distributions():
        with suppress(Exception):  # whatever a damaged record leads to, others go on
            for entry in package.entry_points.select(group=GROUP):
                title = f"{package.name} {package.version}"
                found.add(Installed(entry.name, entry.value, title))
    return sorted(found)


def backend_class(name: str) -> type[Backend]:
    """The class of the backend `name`, or of a full `module:Class` path.

    Raises UsageError, which lists the known names, when there is none, and PreflightFailed when
    its package is not usable.
    """
    if name in BACKENDS or ":" in name:
        return _load(name, BACKENDS.get(name, name), "")
    known = installed_backends()
    match [each for each in known if each.name == name]:
        case []:
            raise UsageError(f"The backend {name!r} was not found.", _remedy(known))
        case [one]:
            return _load(name, one.path, one.package)
        case several:
            packages = " and ".join(each.package for each in several)
            fix = "Uninstall all but one, or name the class as package.module:Class."
            raise PreflightFailed([Problem(f"The backend {name!r} is in {packages}.", fix)])


def _remedy(known: list[Installed]) -> str:
    names = ", ".join(dict.fromkeys([*BACKENDS, *(each.name for each in known)]))
    return (
        f"Choose one of {names}; or name a class of your own as package.module:Class, with its"
        " folder on PYTHONPATH."
    )


def _load(name: str, path: str, package: str) -> type[Backend]:
    """`package` is what declares it, "" where the person has named the class."""
    from backends.base import Backend

    module, _, class_name = path.partition(":")
    try:
        found = getattr(import_module(module), class_name)
    except (ImportError, AttributeError, TypeError, ValueError) as exc:
        raise _unusable(name, package, f"could not be loaded: {exc}") from exc
    except (Exception, SystemExit) as exc:  # whatever a module of others does when it is imported
        what = f"The backend {name!r} could not be loaded: {path} ends with {exc!r}."
        raise PreflightFailed([Problem(what, _mended(package))]) from exc
    if not (isinstance(found, type) and issubclass(found, Backend)) or isabstract(found):
        raise _unusable(name, package, "is not a backend class")
    if not isinstance(getattr(found, "name", None), str):
        raise _unusable(name, package, "has no name")
    return found


def _unusable(name: str, package: str, why: str) -> UsageError | PreflightFailed:
    if not package:
        return UsageError(f"The backend {name!r} {why}.", _remedy(installed_backends()))
    return PreflightFailed([Problem(f"The backend {name!r} of {package} {why}.", _mended(package))])


def _mended(package: str) -> str:
    return f"Correct {package or 'the module'}, or choose another backend."
