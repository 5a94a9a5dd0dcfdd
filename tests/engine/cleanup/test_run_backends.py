"""Where a run may be taken up while jobs of it may be open."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import load_settings
from core.errors import UsageError
from core.events import Kind
from core.job import JobHandle, JobKey
from core.wire import plain
from engine.cleanup.run_backends import check_place, kept_settings
from engine.run.journal import Journal
from engine.run.rundir import RunDir, RunFacts, create_run
from tests.fakes.events import event_of

RUN_ID = "20260101-120000-5555"
BATCH = {
    "backend": "batch",
    "batch_job_queue": "a-queue",
    "batch_job_definition": "a-definition",
    "batch_s3_bucket": "a-bucket",
}
CLUSTER = {"backend": "parallelcluster", "aws_cluster_name": "lab"}


def started(place: Path, environ: dict[str, str], **options: object) -> RunDir:
    """A run with those settings whose process is gone; one of its jobs may run."""
    loaded = load_settings(options, environ, place)
    run = create_run(place / "work", RunFacts(RUN_ID, "", "", 0.0, loaded.kept(), True))
    key = JobKey(RUN_ID, "one", 1)
    handle = JobHandle(key, loaded.settings.backend, "native")
    journal = Journal(run.journal)
    journal.emit(event_of(Kind.RUN_STARTED, 0.0, data={"backend": loaded.settings.backend}))
    journal.emit(event_of(Kind.JOB_INTENDED, 0.0, key.task, key.attempt))
    data = {"handle": plain(handle)}
    journal.emit(event_of(Kind.JOB_SUBMITTED, 0.0, key.task, key.attempt, data))
    journal.close()
    return run


def end_job(run: RunDir) -> None:
    journal = Journal(run.journal)
    journal.emit(event_of(Kind.JOB_ENDED, 0.0, "one", 1, {"cause": "INTERRUPTED", "message": ""}))
    journal.close()


def take_up(run: RunDir, place: Path, environ: dict[str, str], **options: object) -> None:
    facts, given = run.read_facts(), load_settings(options, environ, place)
    check_place(run, facts, kept_settings(given, environ, place, facts).settings)


@pytest.mark.parametrize(
    ("name", "other", "told"),
    [
        ("batch_s3_bucket", "b-bucket", "--batch-s3-bucket a-bucket"),
        ("batch_s3_prefix", "elsewhere", "--batch-s3-prefix parallel-orchestrator"),
        ("batch_region", "eu-west-1", "--batch-region eu-central-1"),
        ("batch_job_queue", "b-queue", "--batch-job-queue a-queue"),
    ],
)
def test_on_aws_batch_bucket_prefix_region_and_queue_stay(
    tmp_path: Path, name: str, other: str, told: str
) -> None:
    run = started(tmp_path, {}, **BATCH)
    with pytest.raises(UsageError, match=r"1 job of run .* may still run on batch") as refused:
        take_up(run, tmp_path, {}, **{name: other})
    assert f"({told})" in refused.value.message
    assert f"cancel {RUN_ID}" in refused.value.remedy
    with pytest.raises(UsageError, match="may still run on batch"):  # the old jobs count
        take_up(run, tmp_path, {}, backend="threading", **{name: other})
    end_job(run)
    take_up(run, tmp_path, {}, **{name: other})


def test_what_file_and_environment_say_by_now_changes_nothing(tmp_path: Path) -> None:
    run = started(tmp_path, {"ORCHESTRATOR_BATCH_S3_BUCKET": "a-bucket"}, **BATCH)
    (tmp_path / "orchestrator.toml").write_text('batch_job_queue = "b-queue"')
    changed = {"ORCHESTRATOR_BATCH_S3_BUCKET": "b-bucket", "AWS_REGION": "us-east-1"}
    take_up(run, tmp_path, changed)


def test_what_is_no_place_may_change_and_another_spelling_is_no_change(tmp_path: Path) -> None:
    run = started(tmp_path, {}, **BATCH)
    take_up(run, tmp_path, {}, batch_s3_prefix="/parallel-orchestrator/", batch_memory="4g")
    take_up(run, tmp_path, {}, batch_job_definition="another:2", aws_cluster_name="lab")


@pytest.mark.parametrize(
    ("was", "other", "told"),
    [
        ({}, {"aws_cluster_name": "farm"}, "(--aws-cluster-name lab)"),
        ({}, {"aws_region": "eu-west-1"}, "(--aws-region eu-central-1)"),
        ({}, {"aws_shared_dir": "/fsx"}, "(--aws-shared-dir ~)"),
        ({}, {"aws_ssh_user": "eve"}, "(--aws-ssh-user '')"),
        (
            {"aws_cluster_name": "", "aws_head_node": "head-1"},
            {"aws_head_node": "head-2"},
            "(--aws-head-node head-1)",
        ),
    ],
)
def test_on_a_cluster_its_name_and_shared_directory_stay(
    tmp_path: Path, was: dict[str, str], other: dict[str, str], told: str
) -> None:
    run = started(tmp_path, {}, **{**CLUSTER, **was})
    with pytest.raises(UsageError, match="may still run on parallelcluster") as refused:
        take_up(run, tmp_path, {}, **other)
    assert told in refused.value.message


def test_a_named_cluster_may_have_its_head_node_anywhere_and_jobs_any_partition(
    tmp_path: Path,
) -> None:
    run = started(tmp_path, {}, **CLUSTER)
    take_up(run, tmp_path, {}, aws_head_node="10.0.0.9", slurm_partition="spot")
