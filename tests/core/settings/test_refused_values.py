"""Values that look harmless: text that is not UTF-8, a secret in the wrong place, half a pair."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import load_settings
from core.errors import SettingsError


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="docker_image"):
        load_settings({"docker_image": "a\udcff"}, {}, tmp_path)


def test_a_key_in_the_place_of_its_arn_is_not_shown(tmp_path: Path) -> None:
    environ = {"ORCHESTRATOR_BATCH_SECRET": "ANTHROPIC_API_KEY=sk-ant-SECRET"}
    with pytest.raises(SettingsError, match="batch_secret") as caught:
        load_settings({}, environ, tmp_path)
    assert "sk-ant-SECRET" not in caught.value.message + caught.value.remedy


def test_a_run_with_an_unknown_provider_is_an_error_of_its_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="provider"):
        load_settings({}, {}, tmp_path, saved={"provider": "vertex"}, saved_by="r1")


def test_a_directory_named_like_the_home_directory_can_be_given(tmp_path: Path) -> None:
    loaded = load_settings({"output_dir": "./~/a"}, {"HOME": "/home/me"}, Path.cwd())
    assert loaded.settings.output_dir == Path.cwd() / "~" / "a"
