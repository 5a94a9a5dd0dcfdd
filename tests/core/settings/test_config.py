"""Settings: which source wins, where each value came from, and how bad values are refused."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import SETTINGS
from core.credentials import MASK, Credentials
from core.settings.options import Group, Setting, declared_settings
from core.settings.worker import DEFAULT_MODELS
from engine.cli.show_config import render_settings
from engine.cli.unused_options import unused_options
from tests.core.settings.loading import load, refusal


def spellings(setting: Setting) -> list[str]:
    return [s for s in (setting.flag, setting.env, setting.key) if s]


def test_defaults_are_those_of_the_documentation(tmp_path: Path) -> None:
    found = load(tmp_path)
    settings = found.settings
    assert settings.max_executors == 5
    assert not settings.real
    assert settings.backend == "threading"
    assert settings.work_dir == tmp_path / ".orchestrator"
    assert settings.output_dir is None
    assert (settings.provider, settings.model) == ("anthropic", "claude-sonnet-5-5")
    assert settings.region == "eu-central-1"
    assert (settings.max_retries, settings.task_timeout) == (3, 1800.0)
    assert settings.queue_timeout == 86_400.0
    assert (settings.sim_seed, settings.sim_speed, settings.sim_faults) == (0, 20.0, "")
    assert set(found.origin.values()) == {"default"}
    assert found.warnings == ()


@given(
    values=st.dictionaries(
        st.sampled_from(["file", "environment", "run", "option"]), st.integers(1)
    )
)
def test_options_beat_the_run_beats_environment_beats_file_beats_defaults(
    values: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cwd = tmp_path_factory.mktemp("layers")
    found = load(
        cwd,
        {"sim_seed": str(values["option"])} if "option" in values else {},
        {"ORCHESTRATOR_SIM_SEED": str(values["environment"])} if "environment" in values else {},
        f"sim_seed = {values['file']}" if values.get("file", 2**64) < 2**63 else None,
        saved={"sim_seed": values["run"]} if "run" in values else None,
        saved_by="r1",
    )
    words = {
        "file": "orchestrator.toml",
        "environment": "environment ORCHESTRATOR_SIM_SEED",
        "run": "run r1",
        "option": "option --sim-seed",
    }
    ranked = [n for n in words if n in values and (n != "file" or values[n] < 2**63)]
    assert found.settings.sim_seed == (values[ranked[-1]] if ranked else 0)
    assert found.origin["sim_seed"] == (words[ranked[-1]] if ranked else "default")
    assert found.origin["sim_speed"] == "default"


def test_every_setting_has_its_own_spelling_in_every_source() -> None:
    every = [text for setting in SETTINGS for text in spellings(setting)]
    assert len(every) == len(set(every))
    for setting in SETTINGS:
        assert setting.text
        assert setting.group in Group


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.key)
def test_every_default_is_of_the_kind_of_its_setting(setting: Setting) -> None:
    if setting.default not in (None, "", ()):
        parsed = setting.kind.parse(setting.default)
        assert (parsed, type(parsed)) == (setting.default, type(setting.default))


def test_every_setting_can_come_from_the_environment(tmp_path: Path) -> None:
    special = {
        **{s.key: "false" for s in SETTINGS if s.sets == "backend"},
        "docker": "true",
        "provider": "bedrock",
        "backend": "docker",
        "engine": "api",
        "parallel": "never",
        "planner_effort": "low",
        "executor_effort": "max",
        "base_url": "http://localhost:1",
        "bedrock_base_url": "http://localhost:2",
        "batch_s3_bucket": "a-bucket",
        "batch_job_role": "arn:aws:iam::123456789012:role/a",
        "batch_execution_role": "arn:aws:iam::123456789012:role/b",
        "batch_secret": '["ANTHROPIC_API_KEY=arn:aws:secretsmanager:x"]',
        "slurm_arg": '["--nice=7"]',
        "context": '["spec.md", "mock.png"]',
        "config": "",
    }
    usual = {s.key: "true" if s.kind.is_flag else "7" for s in SETTINGS}
    found = load(tmp_path, {}, {s.env: (usual | special)[s.key] for s in SETTINGS})
    given = {k for k, o in found.origin.items() if o.startswith("environment ORCHESTRATOR_")}
    # what another spelling moved comes from that variable; an empty one counts as absent
    assert given == {s.key for s in SETTINGS} - {"config"}


def test_a_setting_without_a_declaration_is_a_mistake_of_ours() -> None:
    @dataclass
    class Bare:
        lost: int = 1

    with pytest.raises(TypeError, match="lost"):
        declared_settings(Bare)


class TestProvider:
    def test_the_default_model_follows_the_provider(self, tmp_path: Path) -> None:
        found = load(tmp_path, {"provider": "bedrock"})
        assert found.settings.model == DEFAULT_MODELS["bedrock"]
        assert found.origin["model"] == "default"

    def test_docker_use_bedrock_is_another_spelling(self, tmp_path: Path) -> None:
        found = load(tmp_path, {"docker_use_bedrock": True})
        assert found.settings.provider == "bedrock"
        assert found.settings.model == DEFAULT_MODELS["bedrock"]
        assert found.origin["provider"] == "option --docker-use-bedrock"

    def test_its_own_region_and_model_beat_the_general_ones(self, tmp_path: Path) -> None:
        found = load(
            tmp_path,
            {
                "provider": "bedrock",
                "region": "us-east-1",
                "model": "plain",
                "docker_bedrock_region": "eu-west-1",
                "docker_bedrock_model": "special",
            },
        )
        assert (found.settings.region, found.settings.model) == ("eu-west-1", "special")
        assert found.origin["region"] == "option --docker-bedrock-region"

    def test_an_option_still_beats_the_same_thing_in_the_environment(self, tmp_path: Path) -> None:
        environ = {"ORCHESTRATOR_DOCKER_BEDROCK_REGION": "eu-west-1"}
        found = load(tmp_path, {"provider": "bedrock", "region": "us-east-1"}, environ)
        assert found.settings.region == "us-east-1"

    def test_they_have_no_effect_without_bedrock_which_is_warned_of(self, tmp_path: Path) -> None:
        found = load(tmp_path, {"docker_bedrock_model": "special"})
        assert found.settings.model == DEFAULT_MODELS["anthropic"]
        assert any("--docker-bedrock-model has no effect" in text for text in found.warnings)

    def test_two_providers_at_once_are_refused(self, tmp_path: Path) -> None:
        text = refusal(tmp_path, {"docker_use_bedrock": True, "provider": "anthropic"})
        assert "--docker-use-bedrock" in text
        assert "--provider" in text

    def test_the_region_of_aws_counts_less_than_our_own_file(self, tmp_path: Path) -> None:
        environ = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-west-2"}
        assert load(tmp_path, {}, environ).settings.region == "us-east-1"
        found = load(tmp_path, {}, environ, 'region = "eu-north-1"')
        assert found.settings.region == "eu-north-1"

    @pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-sonnet-4-5-20250929"])
    def test_a_model_that_ends_is_named_with_its_successor(
        self, tmp_path: Path, model: str
    ) -> None:
        (warning,) = load(tmp_path, {"model": model}).warnings
        assert model in warning
        assert "30 November 2026" in warning
        assert "claude-sonnet-5-5" in warning

    def test_the_models_of_both_roles_are_looked_at(self, tmp_path: Path) -> None:
        """And not the one that neither uses."""
        ids: dict[str, object] = {
            "model": "claude-2",
            "planner_model": "claude-opus-4-5",
            "executor_model": "claude-3-opus",
        }
        planner, executor = load(tmp_path, ids).warnings
        assert "claude-opus-4-5 ends on 22 January 2027. Use claude-opus-5-5" in planner
        assert "claude-3-opus ends on" in executor

    def test_bedrock_keeps_its_own_dates(self, tmp_path: Path) -> None:
        assert load(tmp_path, {"provider": "bedrock"}).warnings == ()

    def test_an_unknown_model_is_used_as_it_is(self, tmp_path: Path) -> None:
        found = load(tmp_path, {"model": "claude-nova-9"})
        assert found.settings.model == "claude-nova-9"
        assert found.warnings == ()


class TestBackends:
    def test_a_flag_selects_a_backend(self, tmp_path: Path) -> None:
        found = load(tmp_path, {"docker": True})
        assert found.settings.backend == "docker"
        assert found.origin["backend"] == "option --docker"

    @pytest.mark.parametrize(
        "options", [{"docker": True, "slurm": True}, {"docker": True, "backend": "slurm"}]
    )
    def test_two_at_once_are_refused(self, tmp_path: Path, options: dict[str, object]) -> None:
        text = refusal(tmp_path, options)
        assert "backend is given twice" in text
        assert "--docker" in text
        assert "slurm" in text

    def test_the_same_one_twice_is_fine(self, tmp_path: Path) -> None:
        found = load(tmp_path, {"docker": True, "backend": "docker"})
        assert found.settings.backend == "docker"

    def test_a_stronger_source_decides_without_an_error(self, tmp_path: Path) -> None:
        environ = {"ORCHESTRATOR_DOCKER": "1"}
        flagged = load(tmp_path, {"slurm": True}, environ)
        named = load(tmp_path, {"backend": "threading"}, environ)
        assert flagged.settings.backend == "slurm"
        assert named.settings.backend == "threading"

    def test_a_flag_switched_off_selects_nothing(self, tmp_path: Path) -> None:
        found = load(tmp_path, {}, {"ORCHESTRATOR_DOCKER": "no"})
        assert found.settings.backend == "threading"

    def test_a_list_comes_from_every_source(self, tmp_path: Path) -> None:
        environ = {"ORCHESTRATOR_SLURM_ARG": '["-w n1", "-H"]'}
        for found in (
            load(tmp_path, {"slurm_arg": ["-w n1", "-H"]}),
            load(tmp_path, {}, environ),
            load(tmp_path, file='slurm_arg = ["-w n1", "-H"]'),
        ):
            assert found.settings.slurm_arg == ("-w n1", "-H")


class TestSecrets:
    KEYS: ClassVar[dict[str, object]] = {
        "docker_aws_access_key_id": "AKIA-canary",
        "docker_aws_secret_access_key": "canary-secret",
        "docker_aws_session_token": "canary-token",
    }

    def test_they_are_masked_wherever_they_could_show(self, tmp_path: Path) -> None:
        found = load(tmp_path, {**self.KEYS, "provider": "bedrock"})
        shown = [
            repr(found.settings),
            str(found.settings),
            render_settings(found),
            render_settings(found, as_json=True),
            json.dumps(found.kept()),
            *found.warnings,
        ]
        assert "canary" not in " ".join(shown)
        assert MASK in render_settings(found)

    def test_a_command_line_is_warned_of_but_not_the_environment(self, tmp_path: Path) -> None:
        found = load(tmp_path, {**self.KEYS, "provider": "bedrock"})
        assert len(found.warnings) == 3
        assert all("others can see" in text for text in found.warnings)
        environ = {f"ORCHESTRATOR_{k.upper()}": str(v) for k, v in self.KEYS.items()}
        assert load(tmp_path, {"provider": "bedrock"}, environ).warnings == ()

    def test_they_replace_every_aws_identity_of_the_environment(self, tmp_path: Path) -> None:
        environ = {
            "ANTHROPIC_API_KEY": "sk",
            "AWS_ACCESS_KEY_ID": "other",
            "AWS_SECRET_ACCESS_KEY": "other",
            "AWS_SESSION_TOKEN": "other",
            "AWS_PROFILE": "other",
            "AWS_BEARER_TOKEN_BEDROCK": "other",
        }
        two = {k: v for k, v in self.KEYS.items() if "token" not in k}
        found = load(tmp_path, two).settings.credentials(environ)
        assert found == Credentials(
            anthropic_api_key="sk",
            aws_access_key_id="AKIA-canary",
            aws_secret_access_key="canary-secret",
        )
        assert load(tmp_path).settings.credentials(environ).aws_session_token == "other"
        three = load(tmp_path, self.KEYS).settings.credentials(environ)
        assert three.aws_session_token == "canary-token"

    @pytest.mark.parametrize(
        "missing", ["docker_aws_access_key_id", "docker_aws_secret_access_key"]
    )
    def test_half_a_pair_is_refused_without_showing_it(self, tmp_path: Path, missing: str) -> None:
        text = refusal(tmp_path, {k: v for k, v in self.KEYS.items() if k != missing})
        assert "together" in text
        assert "canary" not in text

    def test_a_bad_secret_is_masked_in_the_error(self, tmp_path: Path) -> None:
        text = refusal(tmp_path, {"docker_aws_session_token": ["canary"]})
        assert "canary" not in text
        assert MASK in text


class TestResume:
    def test_all_that_decides_what_a_run_does_is_kept_but_for_secrets(self) -> None:
        places, once = {"work_dir", "config", "base_url", "bedrock_base_url"}, {"plan", "context"}
        left = {s.key for s in SETTINGS if not s.kept and "run" in s.commands and not s.secret}
        output = {s.key for s in SETTINGS if s.group == Group.OUTPUT}
        assert left == places | once | output

    def test_what_a_run_keeps_brings_the_same_settings_back(self, tmp_path: Path) -> None:
        options: dict[str, object] = {
            "max_executors": "2",
            "output_dir": "out",
            "sim_seed": "4",
            "docker_use_bedrock": True,
            "quiet": True,
        }
        kept = json.loads(json.dumps(load(tmp_path, options).kept()))
        again = load(tmp_path, {}, {"ORCHESTRATOR_REAL": "1"}, saved=kept, saved_by="r1")
        assert again.settings.max_executors == 2
        assert again.settings.output_dir == tmp_path / "out"
        assert again.settings.provider == "bedrock"
        assert not again.settings.real
        assert not again.settings.quiet
        assert again.origin["max_executors"] == "run r1"

    def test_options_given_again_override(self, tmp_path: Path) -> None:
        kept = load(tmp_path, {"backend": "slurm"}).kept()
        found = load(tmp_path, {"docker": True}, saved=kept, saved_by="r")
        assert found.settings.backend == "docker"

    def test_another_provider_brings_its_own_model(self, tmp_path: Path) -> None:
        kept = load(tmp_path, {"model": "claude-opus-5-5"}).kept()
        assert load(tmp_path, {}, saved=kept).settings.model == "claude-opus-5-5"
        found = load(tmp_path, {"provider": "bedrock"}, saved=kept)
        assert found.settings.model == DEFAULT_MODELS["bedrock"]

    @pytest.mark.parametrize(
        ("options", "prices"),
        [
            ({}, (1.0, 2.0)),
            ({"model": "of-my-own"}, (1.0, 2.0)),
            ({"model": "claude-opus-5-5"}, (None, None)),
            ({"provider": "bedrock"}, (None, None)),
            ({"model": "y", "price_input": "3", "price_output": "4"}, (3.0, 4.0)),
        ],
    )
    def test_a_run_resumed_with_another_model_forgets_the_prices_given_for_the_first(
        self, tmp_path: Path, options: dict[str, object], prices: tuple[float | None, float | None]
    ) -> None:
        first: dict[str, object] = {"model": "of-my-own", "price_input": "1", "price_output": "2"}
        kept = load(tmp_path, first).kept()
        found = load(tmp_path, options, saved=kept, saved_by="r1").settings
        assert (found.price_input, found.price_output) == prices

    def test_prices_given_for_the_default_model_stay_with_it(self, tmp_path: Path) -> None:
        kept = load(tmp_path, {"price_input": "1", "price_output": "2"}).kept()
        assert load(tmp_path, {}, saved=kept, saved_by="r1").settings.price_input == 1.0

    def test_a_setting_of_another_version_is_passed_over(self, tmp_path: Path) -> None:
        assert load(tmp_path, {}, saved={"of_old": 1}, saved_by="r").settings.max_executors == 5


class TestRoles:
    def test_both_have_the_model_where_nothing_else_is_said(self, tmp_path: Path) -> None:
        given: tuple[dict[str, object], ...] = ({}, {"model": "m"}, {"provider": "bedrock"})
        for options in given:
            settings = load(tmp_path, options).settings
            assert settings.planner_model == settings.executor_model == settings.model
            models = settings.models()
            assert models.each == (models.executor,)
            assert models.executor.option == "--model"

    def test_each_has_its_own_from_any_source(self, tmp_path: Path) -> None:
        environ = {"ORCHESTRATOR_PLANNER_MODEL": "p", "ORCHESTRATOR_EXECUTOR_EFFORT": "low"}
        models = load(tmp_path, {"model": "m"}, environ, 'executor_model = "e"').settings.models()
        planner, executor = models.planner, models.executor
        assert (planner.model, planner.effort, planner.option) == ("p", "", "--planner-model")
        assert (executor.model, executor.effort, executor.option) == (
            "e",
            "low",
            "--executor-model",
        )
        assert models.differ
        assert models.each == (planner, executor)

    def test_one_role_may_differ_from_the_model_of_bedrock(self, tmp_path: Path) -> None:
        options: dict[str, object] = {
            "docker_use_bedrock": True,
            "docker_bedrock_model": "b",
            "executor_model": "e",
        }
        models = load(tmp_path, options).settings.models()
        assert (models.planner.model, models.executor.model) == ("b", "e")

    @pytest.mark.parametrize("model", ["claude-haiku-4-5", DEFAULT_MODELS["bedrock"]])
    def test_an_effort_that_the_model_does_not_take_is_named(
        self, tmp_path: Path, model: str
    ) -> None:
        text = refusal(tmp_path, {"executor_model": model, "executor_effort": "low"})
        assert f"The model {model} takes no effort 'low' (executor_effort, option" in text
        assert "Leave it out." in text
        load(tmp_path, {"executor_model": model, "planner_effort": "low"})

    def test_the_levels_there_are_are_listed(self, tmp_path: Path) -> None:
        text = refusal(tmp_path, {"model": "claude-sonnet-4-6", "planner_effort": "xhigh"})
        assert "Use one of low, medium, high, max, or leave it out." in text

    def test_a_resumed_run_keeps_both_and_takes_what_is_given_again(self, tmp_path: Path) -> None:
        first: dict[str, object] = {
            "planner_model": "p",
            "executor_model": "e",
            "planner_effort": "max",
        }
        kept = load(tmp_path, first).kept()
        environ = {"ORCHESTRATOR_EXECUTOR_MODEL": "other"}
        again = load(tmp_path, {}, environ, saved=kept, saved_by="r1")
        assert again.kept() == kept
        found = load(tmp_path, {"executor_model": "f"}, saved=kept, saved_by="r1").settings
        assert (found.planner_model, found.executor_model) == ("p", "f")
        assert found.planner_effort == "max"

    def test_a_model_that_was_not_given_follows_the_other_one(self, tmp_path: Path) -> None:
        kept = load(tmp_path, {"executor_model": "e"}).kept()
        assert "planner_model" not in kept
        found = load(tmp_path, {"model": "m"}, saved=kept, saved_by="r1").settings
        assert (found.planner_model, found.executor_model) == ("m", "e")

    def test_with_another_provider_the_ids_of_the_first_are_gone(self, tmp_path: Path) -> None:
        first: dict[str, object] = {"planner_model": "claude-opus-5-5", "planner_effort": "max"}
        kept = load(tmp_path, first).kept()
        found = load(tmp_path, {"provider": "bedrock"}, saved=kept, saved_by="r1").settings
        assert found.planner_model == found.executor_model == DEFAULT_MODELS["bedrock"]
        assert found.planner_effort is None

    def test_the_effort_of_another_model_is_gone_with_it(self, tmp_path: Path) -> None:
        kept = load(tmp_path, {"executor_effort": "max", "planner_effort": "max"}).kept()
        options: dict[str, object] = {"executor_model": "claude-haiku-4-5"}
        found = load(tmp_path, options, saved=kept, saved_by="r1").settings
        assert (found.planner_effort, found.executor_effort) == ("max", None)

    def test_prices_given_for_the_models_of_a_run_are_gone_with_one_of_them(
        self, tmp_path: Path
    ) -> None:
        first: dict[str, object] = {
            "executor_model": "of-my-own",
            "price_input": "1",
            "price_output": "2",
        }
        kept = load(tmp_path, first).kept()
        assert load(tmp_path, {}, saved=kept, saved_by="r1").settings.price_input == 1.0
        found = load(tmp_path, {"executor_model": "x"}, saved=kept, saved_by="r1").settings
        assert (found.price_input, found.price_output) == (None, None)


class TestUse:
    def test_simulation_is_the_default_and_takes_its_settings(self, tmp_path: Path) -> None:
        options: dict[str, object] = {"sim_seed": "3", "sim_speed": "0", "sim_faults": "refusal=1"}
        models = load(tmp_path, options, {"ANTHROPIC_BASE_URL": "http://x"}).settings.models()
        assert models.planner == models.executor
        model = models.executor
        assert model.simulation is not None
        assert (model.simulation.seed, model.simulation.speed) == (3, 0.0)
        assert model.simulation.faults == "refusal=1"
        assert model.base_url == ""

    @pytest.mark.parametrize(
        ("provider", "url"), [("anthropic", "http://a:1"), ("bedrock", "http://b:2")]
    )
    def test_real_takes_the_address_of_its_provider(
        self, tmp_path: Path, provider: str, url: str
    ) -> None:
        environ = {
            "ANTHROPIC_BASE_URL": "http://a:1",
            "ANTHROPIC_BEDROCK_BASE_URL": "http://b:2",
        }
        found = load(tmp_path, {"real": True, "provider": provider}, environ)
        model = found.settings.models().executor
        assert model.simulation is None
        assert (model.base_url, model.provider) == (url, provider)

    def test_simulation_options_with_real_are_warned_of(self, tmp_path: Path) -> None:
        (warning,) = load(tmp_path, {"real": True, "sim_seed": "1"}).warnings
        assert "--sim-seed has no effect" in warning
        assert "it needs real = no" in warning

    @pytest.mark.parametrize(
        ("options", "needs"),
        [
            ({"docker_memory": "4g"}, "--backend docker or --docker-planner-in-docker"),
            ({"docker_memory": "4g", "planner_in_docker": True}, ""),
            ({"docker_memory": "4g", "docker_planner_in_docker": True}, ""),
            ({"docker_memory": "4g", "docker": True}, ""),
            ({"docker_memory": "4g", "real": True}, ""),
            ({"docker_memory": "4g", "backend": "my.place:Class"}, ""),
            ({"batch_vcpus": "2", "docker": True}, "--backend batch"),
            ({"slurm_mem": "8G"}, "--backend slurm or parallelcluster"),
            ({"slurm_mem": "8G", "aws": True}, ""),
            ({"aws_region": "eu-west-1", "slurm": True}, "--backend parallelcluster"),
        ],
    )
    def test_options_of_a_backend_that_was_not_chosen_are_warned_of(
        self, tmp_path: Path, options: dict[str, object], needs: str
    ) -> None:
        flag = f"--{next(iter(options)).replace('_', '-')}"
        found = load(tmp_path, options)
        told = [f"{flag} has no effect here: it needs {needs}."] if needs else []
        assert unused_options(found) == told
        assert found.warnings == ()

    def test_the_environment_may_hold_options_of_any_backend(self, tmp_path: Path) -> None:
        assert unused_options(load(tmp_path, {}, {"ORCHESTRATOR_DOCKER_MEMORY": "4g"})) == []

    def test_limits_take_the_timeout(self, tmp_path: Path) -> None:
        assert load(tmp_path, {"task_timeout": "12.5"}).settings.limits().timeout_s == 12.5

    def test_settings_are_frozen(self, tmp_path: Path) -> None:
        settings = load(tmp_path).settings
        with pytest.raises(FrozenInstanceError):
            setattr(settings, "real", True)  # noqa: B010 - mypy knows that it cannot be set

    def test_a_misspelt_variable_is_warned_of(self, tmp_path: Path) -> None:
        environ = {"ORCHESTRATOR_MAX_EXECUTOR": "3", "ORCHESTRATOR_HOME": "/x", "OTHER": "1"}
        (warning,) = load(tmp_path, {}, environ).warnings
        assert "ORCHESTRATOR_MAX_EXECUTORS" in warning

    def test_no_color_is_honoured_whatever_it_holds(self, tmp_path: Path) -> None:
        found = load(tmp_path, {}, {"NO_COLOR": "0"})
        assert found.settings.no_color
        assert found.origin["no_color"] == "environment NO_COLOR"
        assert not load(tmp_path, {}, {"NO_COLOR": ""}).settings.no_color

    def test_show_config_gives_every_setting_with_its_origin(self, tmp_path: Path) -> None:
        found = load(tmp_path, {"sim_faults": "a\x1b[2Jb"}, file="real = true")
        lines = dict(line.split(maxsplit=1) for line in render_settings(found).splitlines())
        assert set(lines) == {s.key for s in SETTINGS}
        assert lines["real"].split() == ["yes", "orchestrator.toml"]
        assert lines["output_dir"].startswith("not set")
        assert "\x1b" not in render_settings(found)
        shown = json.loads(render_settings(found, as_json=True))
        assert shown["real"] == {"value": True, "origin": "orchestrator.toml"}
        assert shown["work_dir"]["value"] == str(tmp_path / ".orchestrator")


def test_the_engine_and_leave_to_run_commands_reach_the_worker(tmp_path: Path) -> None:
    given = {"engine": "claude-code", "allow_commands": True}
    model = load(tmp_path, given).settings.models().executor
    assert (model.engine, model.allow_commands) == ("claude-code", True)
    assert not load(tmp_path, {}).settings.models().executor.allow_commands


def test_leave_to_run_commands_counts_for_every_engine(tmp_path: Path) -> None:
    for engine in ("api", "claude-code"):
        found = load(tmp_path, {"allow_commands": True, "engine": engine})
        assert not found.warnings
        assert found.settings.models().executor.allow_commands
