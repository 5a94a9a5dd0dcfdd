"""The names of backends and their classes, which are imported only when chosen."""

from __future__ import annotations

from importlib import import_module
from inspect import isabstract
from typing import TYPE_CHECKING

from core.errors import UsageError

if TYPE_CHECKING:
    from backends.base import Backend

BACKENDS = {
    "threading": "backends.threading_backend:ThreadingBackend",
    "docker": "backends.docker_backend:DockerBackend",
    "batch": "backends.aws_batch_backend:AwsBatchBackend",
    "slurm": "backends.slurm_backend:SlurmBackend",
    "parallelcluster": "backends.parallelcluster_backend:ParallelClusterBackend",
}


def backend_class(name: str) -> type[Backend]:
    """The class of the backend `name`, or of a full `module:Class` path.

    Raises UsageError, which lists the known names, when there is none.
    """
    from backends.base import Backend

    path = BACKENDS.get(name, name)
    module_name, colon, class_name = path.partition(":")
    remedy = (
        f"Choose one of {', '.join(BACKENDS)}; or name a class of your own as"
        " package.module:Class, with its folder on PYTHONPATH."
    )
    if not colon:
        raise UsageError(f"The backend {name!r} was not found.", remedy)
    try:
        found = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError, TypeError, ValueError) as exc:
        raise UsageError(f"The backend {name!r} could not be loaded: {exc}.", remedy) from exc
    if not (isinstance(found, type) and issubclass(found, Backend)) or isabstract(found):
        raise UsageError(f"{name!r} is not a backend class.", remedy)
    return found
