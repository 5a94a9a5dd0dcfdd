"""Names of backends and where their classes are; a class is imported only when it is chosen."""

from __future__ import annotations

from importlib import import_module

from backends.base import Backend
from core.errors import UsageError

BACKENDS = {
    "threading": "backends.threading_backend:ThreadingBackend",
}


def backend_class(name: str) -> type[Backend]:
    """The class of the backend `name`, or of a full `module:Class` path.

    Raises UsageError, listing the names there are, when there is none.
    """
    module_name, _, class_name = BACKENDS.get(name, name).partition(":")
    try:
        found = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as exc:
        known = ", ".join(BACKENDS)
        raise UsageError(f"There is no backend {name!r}.", f"Choose one of: {known}.") from exc
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise UsageError(f"{name!r} is not a backend class.")
    return found
