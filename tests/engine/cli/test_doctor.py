"""The doctor command: what it checks, what it shows, and its exit code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import orchestrator
from backends.threading_backend import ThreadingBackend
from core.errors import Problem
from engine.cli.doctor import (
    Check,
    CheckState,
    check_packages,
    check_work_dir,
    exit_code,
    find_verdict,
    render_check,
)
from tests.fakes.aws import QUEUE, FakeAws
from tests.fakes.aws_calls import BUCKET
from tests.fakes.aws_server import served
from tests.fakes.scripted_server import (
    Asked,
    Told,
    api_refusal,
    aws_refusal,
    hello,
    scripted_server,
)

CANARY = "sk-canary-doctor"


@pytest.fixture(autouse=True)
def _clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "AWS_", "ORCHESTRATOR_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class BrokenBackend(ThreadingBackend):
    """One that is not usable here."""

    def preflight(self) -> list[Problem]:
        return [Problem("There is no engine room.", "Build one.")]


class ProbedBackend(ThreadingBackend):
    """One whose probe leaves a file behind and finds something."""

    def probe(self) -> list[Problem]:
        self._run_dir.mkdir(parents=True)
        (self._run_dir / "job.sh").write_text("true")
        return [Problem("The node has no floor.", "Lay one.")]


def doctor(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, list[dict[str, object]]]:
    code = orchestrator.main(["doctor", "--json", *args])
    lines = capsys.readouterr().out.splitlines()
    return code, [json.loads(line) for line in lines]


def of(checks: Sequence[Mapping[str, object]], subject: str) -> list[Mapping[str, object]]:
    return [check for check in checks if check["subject"] == subject]


def test_a_machine_where_all_is_well(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with scripted_server(hello()) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        assert orchestrator.main(["doctor"]) == 0
        assert len(server.asked) == 1
        assert server.asked[0].data["max_tokens"] == 1
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "provider anthropic: credentials: ANTHROPIC_API_KEY" in shown
    assert "claude-sonnet-5-5 answered in" in " ".join(shown.split())
    assert "s, for 21 tokens" in " ".join(shown.split())
    assert "backend threading: usable" in shown
    assert CANARY not in shown
    assert list(tmp_path.iterdir()) == []


def test_the_docker_engine_checked_is_the_one_that_the_environment_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    code, checks = doctor(capsys, "--docker")
    [found] = of(checks, "backend docker")
    assert code == 3
    assert found["state"] == "problem"
    assert "at tcp://127.0.0.1:1 cannot be reached: Connection refused." in str(found["message"])


def test_without_credentials_nothing_is_sent_and_the_fix_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server(hello()) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        code, checks = doctor(capsys, "--provider", "anthropic")
        assert server.asked == []
    assert code == 3
    (chosen,), (other,) = of(checks, "provider anthropic"), of(checks, "provider bedrock")
    assert chosen["state"] == "problem"
    assert "ANTHROPIC_API_KEY" in str(chosen["fix"])
    assert other["state"] == "note"


def test_asked_about_real_runs_a_missing_key_is_a_problem(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    code, checks = doctor(capsys, "--real")
    assert (code, of(checks, "provider anthropic")[0]["state"]) == (3, "problem")


def test_without_being_asked_about_real_runs_a_missing_key_is_a_note(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    code, checks = doctor(capsys)
    assert code == 0
    assert {check["state"] for check in checks} == {"ok", "note"}
    verdict = checks[0]
    assert verdict["subject"] == "verdict"
    assert str(verdict["message"]).startswith("Simulation: ready. Real runs: need a key. ")
    assert "AWS Batch" in str(verdict["message"]).partition(": not set up.")[0]


def test_the_verdict_comes_first_and_of_what_was_not_chosen_one_note_is_enough(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert orchestrator.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Simulation: ready. Real runs: need a key.")
    assert shown.count("backend batch: ") == 1
    assert "2 more: ask with --backend batch" in " ".join(shown.split())
    assert "\nproblem" not in shown


def test_the_verdict_of_what_was_chosen_and_is_not_usable() -> None:
    ok, note, problem = CheckState.OK, CheckState.NOTE, CheckState.PROBLEM
    found = [
        Check("Python", ok, ""),
        Check("backend docker", problem, ""),
        Check("backend slurm", ok, ""),
        Check("backend threading", ok, ""),
        Check("backend batch", note, "", needed=False),
        Check("provider bedrock", ok, "credentials"),
        Check("provider bedrock", problem, "refused"),
        Check("provider anthropic", note, "", needed=False),
    ]
    assert find_verdict(found) == (
        "Simulation: ready. Real runs: not ready. Docker: not ready. Slurm: ready."
        " AWS Batch: not set up."
    )
    broken = [Check("packages", problem, "")]
    assert find_verdict(broken) == "Simulation: not ready."


def test_the_provider_that_is_not_chosen_is_not_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server(hello()) as api, scripted_server(hello()) as bedrock:
        monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", CANARY)
        monkeypatch.setenv("ANTHROPIC_BEDROCK_BASE_URL", bedrock.url)
        code, checks = doctor(capsys)
        assert (len(api.asked), len(bedrock.asked)) == (1, 0)
    assert code == 0
    (other,) = of(checks, "provider bedrock")
    assert other["message"] == (
        "credentials: AWS_BEARER_TOKEN_BEDROCK; not asked (ask it with --provider bedrock)"
    )


@pytest.mark.parametrize("how", [("--provider", "bedrock"), ("--docker-use-bedrock",)])
def test_bedrock_is_asked_in_its_region_for_its_default_model(
    how: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = aws_refusal(403, "AccessDeniedException", "You don't have access to the model")
    with scripted_server(told) as server:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
        monkeypatch.setenv("ANTHROPIC_BEDROCK_BASE_URL", server.url)
        code, checks = doctor(capsys, *how)
        (asked,) = server.asked
    assert code == 3
    assert "/eu-central-1/bedrock/" in asked.headers["authorization"]
    assert "global.anthropic.claude-sonnet-4-5-20250929-v1:0" in asked.path
    found, answer = of(checks, "provider bedrock")
    assert (found["state"], found["message"]) == ("ok", "credentials: an AWS access key")
    assert answer["state"] == "problem"
    assert "Bedrock console" in str(answer["fix"])


def test_the_options_of_bedrock_are_used(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server(aws_refusal(429, "ThrottlingException", "Too many")) as server:
        monkeypatch.setenv("ANTHROPIC_BEDROCK_BASE_URL", server.url)
        options = {
            "region": "us-west-2",
            "model": "us.anthropic.x",
        }
        given = [w for k, v in options.items() for w in (f"--docker-bedrock-{k}", v)]
        keys = ("--docker-aws-access-key-id", "AKIAOPT", "--docker-aws-secret-access-key", "s")
        code, checks = doctor(capsys, "--docker-use-bedrock", *given, *keys)
        (asked,) = server.asked
    assert code == 0, "a rate limit is only a warning"
    assert [c["state"] for c in of(checks, "provider bedrock")] == ["ok", "warning"]
    assert "Credential=AKIAOPT/" in asked.headers["authorization"]
    assert "/us-west-2/bedrock/" in asked.headers["authorization"]
    assert asked.path == "/model/us.anthropic.x/invoke-with-response-stream"


def test_the_models_of_both_roles_are_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: Asked) -> Told:
        if asked.data["model"] == "good":
            return hello()
        return api_refusal(404, "not_found_error", "model: bad")

    with scripted_server(answer) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        code, checks = doctor(capsys, "--planner-model", "good", "--executor-model", "bad")
        assert [asked.data["model"] for asked in server.asked] == ["good", "bad"]
    assert code == 3
    _, good, bad = of(checks, "provider anthropic")
    assert (good["state"], bad["state"]) == ("ok", "problem")
    assert "--executor-model" in str(bad["fix"])


def test_a_backend_that_was_chosen_and_is_not_usable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server(hello()) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        code, checks = doctor(capsys, "--backend", f"{__name__}:BrokenBackend")
    assert code == 3
    (chosen,) = of(checks, f"backend {__name__}:BrokenBackend")
    assert (chosen["state"], chosen["fix"]) == ("problem", "Build one.")
    (other,) = of(checks, "backend threading")
    assert other["state"] == "ok"


def test_a_probe_is_made_only_when_it_is_asked_for_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with scripted_server(hello()) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        chosen = ("--backend", f"{__name__}:ProbedBackend")
        assert doctor(capsys, *chosen)[0] == 0
        code, checks = doctor(capsys, *chosen, "--probe")
    assert code == 3
    (check,) = of(checks, f"backend {__name__}:ProbedBackend")
    assert (check["message"], check["fix"]) == ("The node has no floor.", "Lay one.")
    assert of(checks, "backend threading")[0]["message"] == "usable", "the others are not probed"
    assert list(tmp_path.iterdir()) == []


def test_a_backend_without_a_probe_is_shown_as_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "")
    _, checks = doctor(capsys, "--probe")
    assert of(checks, "backend threading")[0]["message"] == "usable; it has no probe"


def test_a_probe_beside_runs_leaves_them_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = tmp_path / ".orchestrator" / "runs" / "20260101-120000-0001" / "run.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "")
    doctor(capsys, "--backend", f"{__name__}:ProbedBackend", "--probe")
    assert [p.name for p in (tmp_path / ".orchestrator" / "runs").iterdir()] == [kept.parent.name]


def test_a_backend_that_does_not_exist_is_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert orchestrator.main(["doctor", "--backend", "kubernetes"]) == 2
    assert "kubernetes" in capsys.readouterr().err


def test_an_engine_that_is_not_usable_is_a_problem(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    code, checks = doctor(capsys, "--engine", "claude-code")
    assert code == 3
    found = of(checks, "engine claude-code")
    assert {check["state"] for check in found} == {"problem"}
    assert any("--allow-commands" in str(check["fix"]) for check in found)


def test_a_provider_that_refuses_is_a_problem_and_the_rest_is_still_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server(api_refusal(401, "authentication_error", f"bad {CANARY}")) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        assert orchestrator.main(["doctor"]) == 3
    shown = capsys.readouterr()
    assert "problem  provider anthropic" in shown.out
    assert "provider bedrock" in shown.out
    assert CANARY not in shown.out + shown.err


def test_help_names_what_may_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert orchestrator.main(["doctor", "--help-all"]) == 0
    shown = capsys.readouterr().out
    assert "--backend" in shown
    assert "--docker-bedrock-model" in shown
    assert "--real" in shown
    assert "--probe" in shown


def test_a_bad_endpoint_cannot_paint_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(400, b'{"error": {"message": "\\u001b[31mred\\u001b]0;title\\u0007"}}')
    with scripted_server(told) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        assert orchestrator.main(["doctor"]) == 3
    assert "\x1b" not in capsys.readouterr().out


# -- single checks


def test_a_package_that_is_missing_is_named() -> None:
    missing, found = check_packages(["click", "no-such-package"])
    assert missing.state is CheckState.PROBLEM
    assert "no-such-package" in missing.message
    assert found.message.startswith("click ")


def test_a_work_directory_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("x")
    assert check_work_dir(tmp_path / "a-file" / "below").state is CheckState.PROBLEM
    assert check_work_dir(Path("/proc/no/such")).state is CheckState.PROBLEM
    assert check_work_dir(tmp_path).state is CheckState.OK
    assert check_work_dir(tmp_path / "new" / "deep").state is CheckState.OK
    assert not (tmp_path / "new").exists()


def test_only_a_problem_of_what_is_needed_counts() -> None:
    needed = Check("a", CheckState.PROBLEM, "s")
    assert exit_code([needed]) == 3
    assert exit_code([Check("a", CheckState.PROBLEM, "s", needed=False)]) == 0
    assert exit_code([Check("a", CheckState.WARNING, "s"), Check("b", CheckState.NOTE, "s")]) == 0


def test_a_check_is_shown_in_80_columns_with_its_fix() -> None:
    check = Check("thing", CheckState.PROBLEM, "said " * 40, "fix " * 40)
    lines = render_check(check, as_json=False).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("problem  thing: said")
    assert any(line.startswith("         fix: fix") for line in lines)
    assert json.loads(render_check(check, as_json=True))["fix"] == check.fix


ROLE = "arn:aws:iam::123456789012:role/workers"


def on_aws(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)


def test_a_job_definition_is_registered_and_then_checked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = FakeAws()
    with served(aws.answer) as url:
        on_aws(monkeypatch, url)
        queue = ("--batch-job-queue", QUEUE, "--batch-s3-bucket", BUCKET)
        made = ("--batch-image", "image", "--batch-job-role", ROLE, "--register-job-definition")
        _, checks = doctor(capsys, *queue, *made)
        _, again = doctor(capsys, *queue, *made)
    [check] = of(checks, "job definition")
    name = str(check["message"]).split()[-1]
    assert check["message"] == f"{name} registered; use it with --batch-job-definition {name}"
    assert "was registered before" in str(of(again, "job definition")[0]["message"])
    assert [c["message"] for c in of(checks, "backend batch")] == ["usable"]
    assert aws.definitions[name]["containerProperties"]["jobRoleArn"] == ROLE
    assert CANARY not in str(checks)


def test_what_cannot_be_a_job_definition_is_refused_with_the_option_that_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = orchestrator.main(["doctor", "--register-job-definition", "--batch-job-role", ROLE])
    assert code == 2
    assert "Name one with --batch-image" in capsys.readouterr().err


def test_a_job_definition_that_aws_does_not_take_is_a_problem(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    made = ("--batch-image", "image", "--batch-job-role", ROLE, "--register-job-definition")
    code, checks = doctor(capsys, *made)
    assert code == 3
    [check] = of(checks, "job definition")
    assert "(nobody) could not be found" in str(check["message"])


def test_without_options_for_aws_batch_what_is_missing_is_shown_and_aws_is_not_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = FakeAws()
    with served(aws.answer) as url:
        on_aws(monkeypatch, url)
        code, checks = doctor(capsys, "--batch")
    assert code == 3
    assert len(of(checks, "backend batch")) == 3
    assert aws.calls == []
