"""Loading settings in tests, without the environment of the test run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config import LoadedSettings, load_settings
from core.errors import SettingsError

Env = dict[str, str]


def load(
    cwd: Path,
    options: dict[str, object] | None = None,
    environ: Env | None = None,
    file: str | None = None,
    **more: Any,
) -> LoadedSettings:
    if file is not None:
        (cwd / "orchestrator.toml").write_text(file, encoding="utf-8")
    return load_settings(options or {}, environ or {}, cwd, **more)


def refusal(cwd: Path, *args: Any, **more: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load(cwd, *args, **more)
    assert caught.value.exit_code == 2
    return str(caught.value)
