"""How an executor reaches Claude: engines, each imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from core.errors import SettingsError

if TYPE_CHECKING:
    from claude.engines.base import Engine, EngineContext

ENGINES: Mapping[str, str] = {
    "api": "claude.engines.api.ApiEngine",
    "claude-code": "claude.engines.claude_code.ClaudeCodeEngine",
}


def load_engine(name: str) -> Callable[[EngineContext], Engine]:
    """The engine with this short name. Raises SettingsError for an unknown one."""
    if (path := ENGINES.get(name)) is None:
        raise SettingsError(
            f"The engine {name!r} is unknown.", f"Use one of: {', '.join(ENGINES)}."
        )
    module, _, attribute = path.rpartition(".")
    return cast(
        "Callable[[EngineContext], Engine]", getattr(importlib.import_module(module), attribute)
    )
