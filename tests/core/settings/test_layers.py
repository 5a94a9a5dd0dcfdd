"""The sources of settings: what a file may hold, how bad values are refused, what paths mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.settings.loading import load, refusal


class TestFile:
    def test_values_are_read_with_their_origin(self, tmp_path: Path) -> None:
        found = load(tmp_path, file='max_executors = 3\nreal = true\njson = true\nmodel = "m"')
        assert found.settings.max_executors == 3
        assert found.settings.real
        assert found.settings.json_lines
        assert found.origin["model"] == "orchestrator.toml"

    @pytest.mark.parametrize(
        ("key", "near"),
        [
            ("max_executor", "max_executors"),
            ("max-executors", "max_executors"),
            ("Provider", "provider"),
            ("simseed", "sim_seed"),
        ],
    )
    def test_an_unknown_key_names_the_nearest_one(
        self, tmp_path: Path, key: str, near: str
    ) -> None:
        text = refusal(tmp_path, file=f'"{key}" = 1')
        assert repr(key) in text
        assert f"Did you mean {near!r}?" in text
        assert "orchestrator.toml" in text

    def test_a_key_like_no_other_points_to_the_list(self, tmp_path: Path) -> None:
        assert "--show-config" in refusal(tmp_path, file="zzzzqq = 1")

    def test_a_table_is_an_unknown_key(self, tmp_path: Path) -> None:
        assert "'containers'" in refusal(tmp_path, file="[containers]\nimage = 'x'")
        assert "for docker" in refusal(tmp_path, file="[docker]\nimage = 'x'")

    def test_the_file_may_not_name_another_file(self, tmp_path: Path) -> None:
        assert "'config'" in refusal(tmp_path, file='config = "other.toml"')

    @pytest.mark.parametrize(
        "line",
        [
            "max_executors = true",
            "max_executors = [1]",
            "max_executors = 2.5",
            "real = 'perhaps'",
            "model = {a = 1}",
            "task_timeout = inf",
            "sim_speed = nan",
            'output_dir = "a\\u0000b"',
            "output_dir = 5",
            "max_executors = 1979-05-27",
        ],
    )
    def test_a_bad_value_names_its_key_and_file(self, tmp_path: Path, line: str) -> None:
        text = refusal(tmp_path, file=line)
        assert line.split()[0] in text
        assert "(orchestrator.toml)" in text

    @pytest.mark.parametrize("content", [b"max_executors = ", b"\xff\xfe\x00", b"a = 1\na = 2"])
    def test_what_is_not_toml_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "orchestrator.toml").write_bytes(content)
        assert "cannot be read" in refusal(tmp_path)

    def test_a_byte_order_mark_changes_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "orchestrator.toml").write_bytes(b"\xef\xbb\xbfmax_executors = 3")
        assert load(tmp_path).settings.max_executors == 3

    def test_a_directory_in_its_place_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "orchestrator.toml").mkdir()
        assert "cannot be read" in refusal(tmp_path)

    def test_the_default_one_may_be_absent_but_not_one_asked_for(self, tmp_path: Path) -> None:
        load(tmp_path)
        assert "does not exist" in refusal(tmp_path, {"config": "other.toml"})
        assert "does not exist" in refusal(tmp_path, {}, {"ORCHESTRATOR_CONFIG": "other.toml"})

    def test_another_file_is_read_when_asked_for(self, tmp_path: Path) -> None:
        (tmp_path / "other.toml").write_text("sim_seed = 9")
        found = load(tmp_path, {"config": "other.toml"}, file="sim_seed = 1")
        assert found.settings.sim_seed == 9
        assert found.origin["sim_seed"] == "other.toml"
        assert found.settings.config == tmp_path / "other.toml"


class TestBadValues:
    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("max_executors", "0"),
            ("max_executors", "-3"),
            ("max_executors", "three"),
            ("max_executors", "9" * 5000),
            ("max_retries", "0"),
            ("task_timeout", "0"),
            ("task_timeout", "-1"),
            ("task_timeout", "inf"),
            ("queue_timeout", "0"),
            ("sim_speed", "-0.1"),
            ("sim_speed", "nan"),
            ("provider", "azure"),
            ("engine", "abacus"),
            ("model", ""),
            ("model", "two words"),
            ("region", "evil.example/"),
            ("backend", "a b"),
            ("sim_tasks", "0"),
            ("sim_tasks", "10001"),
            ("sim_tasks", "1.5"),
        ],
    )
    def test_a_bad_option_is_named_with_its_value(
        self, tmp_path: Path, key: str, value: str
    ) -> None:
        text = refusal(tmp_path, {key: value})
        assert f"option --{key.replace('_', '-')}" in text
        assert repr(value)[:200] in text
        assert len(text) < 400

    def test_a_bad_variable_is_named(self, tmp_path: Path) -> None:
        text = refusal(tmp_path, {}, {"ORCHESTRATOR_MAX_EXECUTORS": "0"})
        assert "ORCHESTRATOR_MAX_EXECUTORS" in text
        assert "a whole number of at least 1" in text

    def test_what_is_allowed_is_listed(self, tmp_path: Path) -> None:
        assert "'anthropic' or 'bedrock'" in refusal(tmp_path, {"provider": "azure"})

    def test_the_default_is_named_as_a_way_out(self, tmp_path: Path) -> None:
        assert "the default is 5" in refusal(tmp_path, {"max_executors": "x"})

    @pytest.mark.parametrize("value", ["", "  ", "a\0b", "a\udc80b"])
    def test_a_path_that_cannot_be_one_is_refused(self, tmp_path: Path, value: str) -> None:
        assert "--output-dir" in refusal(tmp_path, {"output_dir": value})

    def test_an_unknown_option_is_refused(self, tmp_path: Path) -> None:
        assert "max_executors" in refusal(tmp_path, {"max_executor": "1"})

    def test_a_bad_list_in_the_environment_is_named(self, tmp_path: Path) -> None:
        text = refusal(tmp_path, {}, {"ORCHESTRATOR_SLURM_ARG": "--exclusive"})
        assert "slurm_arg" in text
        assert '["a", "b"]' in text

    @pytest.mark.parametrize("url", ["ftp://x", "localhost:1", "http://", "//x", "http://a b"])
    def test_a_base_url_must_be_one(self, tmp_path: Path, url: str) -> None:
        assert "base_url" in refusal(tmp_path, {}, {"ANTHROPIC_BASE_URL": url})

    @pytest.mark.parametrize("url", ["http://x:abc", "http://x:99999", "https://x:-1/v1"])
    def test_a_bad_port_is_refused(self, tmp_path: Path, url: str) -> None:
        assert "port" in refusal(tmp_path, {}, {"ANTHROPIC_BEDROCK_BASE_URL": url})

    @pytest.mark.parametrize(
        "url",
        [
            "https://me:hunter2@example.org",
            "https://me:a/hunter2@example.org",
            "https://hunter2@example.org",
            "https://example.org/v1?token=hunter2",
            "https://example.org/#hunter2",
        ],
    )
    def test_a_secret_in_a_base_url_is_refused_and_not_shown(
        self, tmp_path: Path, url: str
    ) -> None:
        text = refusal(tmp_path, {}, {"ANTHROPIC_BASE_URL": url})
        assert "must" in text
        assert "hunter2" not in text

    def test_all_of_them_are_found_at_once_and_have_their_defaults(self, tmp_path: Path) -> None:
        options: dict[str, object] = {"max_retries": "x", "sim_speed": "-1", "sim_seed": "7"}
        found = load(tmp_path, options, {"ORCHESTRATOR_MAX_TOKENS": "0"}, lenient=True)
        assert [e.message.split()[4] for e in found.errors] == [
            "max_tokens",
            "max_retries",
            "sim_speed",
        ]
        assert (found.settings.max_retries, found.settings.sim_speed) == (3, 20.0)
        assert found.settings.sim_seed == 7
        assert found.origin["max_retries"] == "default; option --max-retries is not valid"


class TestPaths:
    def test_one_below_a_directory_that_is_not_in_utf8_is_refused(self, tmp_path: Path) -> None:
        place = tmp_path / "a\udcff"  # what the system gives for a byte 0xff
        assert "of work_dir is not in UTF-8" in refusal(place)
        load(place, {"work_dir": "/w", "output_dir": "/o"})

    def test_they_become_absolute(self, tmp_path: Path) -> None:
        found = load(tmp_path, {"output_dir": "out", "plan": "/a/plan.json"})
        assert found.settings.output_dir == tmp_path / "out"
        assert found.settings.plan == Path("/a/plan.json")

    @pytest.mark.parametrize(("text", "found"), [("~/x", "/home/me/x"), ("~", "/home/me")])
    def test_home_is_meant_by_a_tilde(self, tmp_path: Path, text: str, found: str) -> None:
        settings = load(tmp_path, {"output_dir": text}, {"HOME": "/home/me"}).settings
        assert settings.output_dir == Path(found)

    def test_a_tilde_without_a_home_stays(self, tmp_path: Path) -> None:
        assert load(tmp_path, {"output_dir": "~/x"}).settings.output_dir == tmp_path / "~/x"
