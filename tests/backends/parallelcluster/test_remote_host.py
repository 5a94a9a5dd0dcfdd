"""A cluster's remote side without SSH: the helper as a process here, and fake commands of Slurm."""

from __future__ import annotations

import io
import json
import queue
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import boto3
import pytest
from moto import mock_aws

from backends.base import BackendContext
from backends.parallelcluster.cluster import ClusterFinder, Ec2Clusters, parse_reasons
from backends.parallelcluster.progress import Transfers
from backends.parallelcluster.remote_host import RemoteHost
from backends.parallelcluster.rpc import HEARTBEAT_S, HeadNodeClient
from backends.parallelcluster.s3_transfer import TransferBucket
from backends.parallelcluster.settings import ParallelClusterSettings
from backends.parallelcluster.ssh import IDLE_S, InputFeeder, TimeoutReader
from backends.parallelcluster_backend import (
    ParallelClusterBackend,
    node_credentials,
    python_problems,
)
from backends.shared.results import attempt_of
from backends.shared.work_dir_id import work_dir_id
from backends.slurm.host import LOG_TAIL_BYTES, Upload, UploadFile
from core.bundle import BASE_NAME, AttemptDir
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.errors import BackendError, CollectError
from core.job import JobHandle, JobKey, JobState
from engine.run.rundir import RunDir
from parallel_task_orchestrator.conformance.live_run import eventually
from tests.fakes.results import no_work
from tests.fakes.scripted_claude import FakeClock
from tests.live.remote_cluster import NAME, REGION, ROOT, aws_with_cluster

pytestmark = pytest.mark.slow  # starts many processes, or waits

RUN = "20260101-120000-aaaa"
KEY, OTHER = JobKey(RUN, "one", 1), JobKey(RUN, "two", 1)
UP = "compute*|up|3"
CONFIG = "MinJobAge = 300 sec"


@dataclass
class LocalLink:
    """Runs what would go over SSH by a shell here, with a home and commands of its own."""

    home: Path
    commands: dict[str, str] = field(default_factory=dict)
    calls: list[bytes] = field(default_factory=list)
    greets: bool = True
    cuts: bytes = b""
    """A request that holds this does not come through."""
    idle_s: float = 60.0

    def __post_init__(self) -> None:
        self.bin.mkdir(parents=True)
        usual = {"sbatch": "echo 1", "squeue": "", "scancel": "", "scontrol": f"echo '{CONFIG}'"}
        tools = self.home / "tools"
        tools.mkdir()
        for name in (
            "sh",
            "cat",
            "mv",
            "sleep",
            "mkdir",
            "dirname",
            "basename",
            "env",
            "echo",
            "true",
        ):
            (tools / name).symlink_to(f"/usr/bin/{name}")
        (tools / "python3").symlink_to(sys.executable)
        for name, script in {**usual, "sinfo": f"echo '{UP}'", **self.commands}.items():
            self.fake(name, script)

    @property
    def bin(self) -> Path:
        return self.home / "bin"

    def fake(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    @contextmanager
    def run(self, command: str, feed: Iterable[bytes] = ()) -> Iterator[IO[bytes]]:
        chunks = list(feed)
        self.calls.append(chunks[0] if chunks else b"")
        if self.cuts and self.cuts in self.calls[-1]:
            raise BackendError("The connection was lost.")
        path = f"{self.bin}:{self.home / 'tools'}"
        process = subprocess.Popen(
            ["/bin/sh", "-c", ("echo Welcome; " if self.greets else "") + command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"HOME": str(self.home), "PATH": path},
        )
        feeder = InputFeeder(process, chunks)
        try:
            yield io.BufferedReader(TimeoutReader(process, feeder, self.idle_s))
        except EOFError as exc:
            raise BackendError("cut") from exc
        finally:
            feeder.end()

    def close(self) -> None:
        pass

    def asked(self, op: str) -> int:
        return sum(f'"op": "{op}"'.encode() in call for call in self.calls)


@dataclass
class Remote:
    """A run here, and what there is of it on the other side."""

    place: Path
    link: LocalLink
    clock: Clock = field(default_factory=FakeClock)
    bucket: TransferBucket | None = None

    @property
    def run_dir(self) -> Path:
        return self.place / "work" / "runs" / RUN

    def host(
        self, transfers: Transfers | None = None, heartbeat_s: float = HEARTBEAT_S
    ) -> RemoteHost:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        head = HeadNodeClient(self.link, heartbeat_s=heartbeat_s)
        return RemoteHost(self.run_dir, head, self.clock, self.bucket, transfers)

    def backend(
        self, credentials: Credentials | None = None, **options: Any
    ) -> ParallelClusterBackend:
        settings = {"aws_head_node": "head", "slurm_setup": self.setup(), **options}
        self.run_dir.mkdir(parents=True, exist_ok=True)
        held = credentials or Credentials()
        context = BackendContext(self.run_dir, held, self.clock, no_work, settings, {})
        read = ParallelClusterSettings.read(settings)
        finder = ClusterFinder(read, Ec2Clusters(REGION, Credentials()))
        return ParallelClusterBackend.over(self.link, finder, context)

    def setup(self) -> Path:
        path = self.place / "setup.sh"
        path.write_text("true\n", encoding="utf-8")
        return path

    @property
    def runs(self) -> Path:
        return self.link.home / ".parallel-orchestrator" / "runs"

    def attempt(self, key: JobKey) -> AttemptDir:
        [there] = self.runs.glob(f"{RUN}-*")
        return attempt_of(there, key)

    def hand_over(self, host: RemoteHost, *keys: JobKey) -> None:
        for key in keys:
            request = attempt_of(self.run_dir, key).request
            request.mkdir(parents=True, exist_ok=True)
            (request / "task.json").write_text(f'"{key}"', encoding="utf-8")
        files = [UploadFile("slurm/a/index.json", b"{}"), UploadFile("slurm/key", b"secret", 0o600)]
        done = host.run(["sbatch"], Upload(files, keys, once="slurm/a"))
        assert done.stdout == "1\n"


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path, LocalLink(tmp_path / "head"))


def leave(remote: Remote, key: JobKey, **files: str) -> AttemptDir:
    """What a worker leaves there."""
    attempt = remote.attempt(key)
    attempt.result.mkdir(exist_ok=True)
    for name, text in files.items():
        (attempt.result / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return attempt


# -- the site


def test_the_helper_is_copied_once_and_its_answers_found_after_greetings(remote: Remote) -> None:
    host = remote.host()
    assert host.run(["echo", "hello"]).stdout == "hello\n"
    assert host.run(["echo", "again"]).stdout == "again\n"
    helpers = list((remote.link.home / ".parallel-orchestrator").glob("head_node-*.pyz"))
    assert len(helpers) == 1
    assert remote.link.asked("info") == 2  # the first found no helper
    assert len(remote.link.calls) == 5


def test_a_submission_is_one_call_with_all_that_it_needs(remote: Remote) -> None:
    host = remote.host()
    assert host.missing_commands(["sbatch"]) == []
    before = len(remote.link.calls)
    remote.hand_over(host, KEY, OTHER)
    assert len(remote.link.calls) - before == 1
    assert remote.attempt(KEY).task_json.read_text() == f'"{KEY}"'
    assert (Path(host.worker_code()) / "batch_executor.py").exists()
    assert (remote.run_dir / "slurm" / "a" / "index.json").read_bytes() == b"{}"
    assert not (remote.run_dir / "slurm" / "key").exists()


def test_code_that_somebody_removed_is_sent_again(remote: Remote) -> None:
    host = remote.host()
    remote.hand_over(host, KEY)
    code = Path(host.worker_code())
    code.rename(code.with_name("gone"))
    host.run(["sbatch"], Upload([UploadFile("x", b"")], [KEY]))
    assert (code / "batch_executor.py").exists()


def test_a_name_is_made_once_and_found_by_others(remote: Remote) -> None:
    first, second = remote.host(), remote.host()
    remote.hand_over(first, KEY)
    assert first.run_dir == second.run_dir
    assert Path(first.run_dir).name.startswith(f"{RUN}-")


def test_a_look_keeps_what_jobs_say_here(remote: Remote) -> None:
    host = remote.host()
    remote.hand_over(host, KEY)
    events = attempt_of(remote.run_dir, KEY).events
    there = leave(remote, KEY, events_jsonl='{"a": 1}\n{"b"')
    host.poll(["squeue"], [KEY])
    assert events.read_text() == '{"a": 1}\n'
    there.events.write_text('{"a": 1}\n{"b": 2}\n')
    host.poll(["squeue"], [KEY])
    assert events.read_text() == '{"a": 1}\n{"b": 2}\n'
    assert not host.trace(KEY).has_result
    assert host.trace(OTHER).claimed is False


def test_news_is_awaited_there_and_told_of_its_job(remote: Remote) -> None:
    host = remote.host()
    assert host.await_news([KEY]) == []
    assert remote.link.calls == [], "nothing has been sent yet"
    remote.hand_over(host, KEY, OTHER)
    leave(remote, OTHER, result_json="{}", events_jsonl='{"a": 1}\n')
    assert host.await_news([KEY, OTHER]) == [OTHER]
    assert attempt_of(remote.run_dir, OTHER).events.read_text() == '{"a": 1}\n'
    (remote.attempt(KEY).root / "claim").write_text("x")
    assert host.await_news([KEY, OTHER]) == [KEY, OTHER], "its job has not ended yet"
    assert host.await_news([KEY, OTHER]) == [OTHER]


def test_a_result_wakes_whoever_listens_and_a_submission_is_watched_at_once(
    remote: Remote,
) -> None:
    backend, woken = remote.backend(), queue.SimpleQueue[JobKey]()
    remote.hand_over(backend._remote, KEY)
    backend._watch_for([KEY])
    assert remote.link.asked("poll") == 0, "nobody listens"

    def wake(*keys: JobKey) -> None:
        for key in keys:
            woken.put(key)

    backend.on_change(wake)
    backend._watch_for([KEY])
    wait = partial(eventually, within_s=20, every_s=0.02, clock=SystemClock())
    wait(lambda: remote.link.asked("poll") == 1, "a command waits there")
    backend._watch_for([OTHER])
    for key in (KEY, OTHER):
        request = attempt_of(remote.run_dir, key).request
        request.mkdir(parents=True, exist_ok=True)
    files = [UploadFile("slurm/b/index.json", b"{}")]
    backend._remote.run(["sbatch"], Upload(files, [OTHER], once="slurm/b"))
    leave(remote, OTHER, result_json="{}")
    assert woken.get(timeout=20) == OTHER
    backend.close()


def test_what_is_wrong_with_one_result_spoils_no_other(remote: Remote) -> None:
    host = remote.host()
    remote.hand_over(host, KEY, OTHER)
    leave(remote, KEY, result_json="{}")
    (leave(remote, OTHER, result_json="{}").result / "link").symlink_to("/etc/hostname")
    refused = host.fetch([KEY, OTHER])
    assert list(refused) == [OTHER]
    assert isinstance(refused[OTHER], CollectError)
    assert "not a regular file" in refused[OTHER].message
    assert attempt_of(remote.run_dir, KEY).result_json.read_text() == "{}"
    assert not attempt_of(remote.run_dir, OTHER).result.exists()
    assert not list(remote.run_dir.glob(".fetch-*"))


def test_a_result_that_is_fetched_again_replaces_what_is_here(remote: Remote) -> None:
    host = remote.host()
    remote.hand_over(host, KEY)
    for text in ("1", "2"):
        leave(remote, KEY, log_txt=text)
        assert host.fetch([KEY]) == {}
        assert attempt_of(remote.run_dir, KEY).log.read_text() == text


def test_the_ends_of_logs_are_kept_here(remote: Remote) -> None:
    host = remote.host()
    assert host.tails([]) == {}
    remote.hand_over(host, KEY)
    [there] = remote.runs.glob("*/slurm/a")
    (there / "0.log").write_text("what went wrong")
    assert host.tails(["slurm/a/0.log", "slurm/a/1.log"])["slurm/a/0.log"] == "what went wrong"
    assert (remote.run_dir / "slurm/a/0.log").read_text() == "what went wrong"
    assert not (remote.run_dir / "slurm/a/1.log").exists()


def test_secrets_in_the_ends_of_logs_are_masked_before_they_are_kept(remote: Remote) -> None:
    key = "sk-ant-" + "k" * 90
    backend = remote.backend(credentials=Credentials(anthropic_api_key=key))
    remote.hand_over(backend._remote, KEY)
    [there] = remote.runs.glob("*/slurm/a")
    (there / "0.log").write_text(f"refused: {key}")
    cut = LOG_TAIL_BYTES - len(key) // 2  # the end begins in the middle of it
    (there / "1.log").write_text(key + "x" * cut)
    found = backend._remote.tails(["slurm/a/0.log", "slurm/a/1.log"])
    kept = [(remote.run_dir / "slurm" / "a" / name).read_text() for name in ("0.log", "1.log")]
    assert kept == list(found.values())
    assert kept[0].startswith("refused: ")
    assert not [text for text in kept if key[7:40] in text]


def test_only_runs_of_this_work_directory_are_ours(remote: Remote) -> None:
    host = remote.host()
    remote.hand_over(host, KEY)
    (remote.runs / "other-0000").mkdir()
    (remote.runs / "other-0000" / "origin").write_text("another machine")
    assert host.runs_of(remote.place / "work") == [RUN]
    assert host.names_of("other") == []
    host.remove_runs(host.names_of(RUN))
    assert [path.name for path in remote.runs.iterdir()] == ["other-0000"]


def test_a_head_node_without_python_says_so(tmp_path: Path) -> None:
    link = LocalLink(tmp_path / "head")
    (tmp_path / "head" / "tools" / "python3").unlink()
    with pytest.raises(BackendError, match="python3 was not found on its PATH"):
        Remote(tmp_path, link).host().run(["true"])


def test_a_shared_directory_that_cannot_be_written_is_reported(remote: Remote) -> None:
    (remote.link.home / ".parallel-orchestrator").write_text("a file")
    with pytest.raises(BackendError):
        remote.host().run(["true"])


# -- through a bucket


@pytest.fixture
def over_s3(remote: Remote) -> Iterator[Remote]:
    """With a bucket, and an `aws` that knows as much of S3 as is needed, over files here."""
    remote.link.fake(
        "aws",
        'store="$HOME/s3"; mkdir -p "$store"; from="$4"; to="$5"\n'
        '[ "$from" = "-" ] && { cat > "$store/$(basename "$to")"; exit; }\n'
        'cat "$store/$(basename "$from")" || { echo "no such key" >&2; exit 1; }',
    )
    with mock_aws():
        client = boto3.client("s3", region_name=REGION)
        place = {"LocationConstraint": REGION}
        client.create_bucket(Bucket="ours", CreateBucketConfiguration=place)
        remote.bucket = LinkedBucket("ours", lambda: client, Transfers(), remote.run_dir)
        remote.bucket.place = remote.link.home / "s3"
        yield remote


class LinkedBucket(TransferBucket):
    """What is put into moto's bucket can be had by the fake CLI, and the other way round."""

    place: Path

    def put(self, url: str, stream: IO[bytes]) -> int:
        size = super().put(url, stream)
        self.place.mkdir(exist_ok=True)
        body = self._connect().get_object(Bucket=self.name, Key=self._key(url))["Body"]
        (self.place / Path(url).name).write_bytes(body.read())
        return size

    def get(self, url: str) -> Iterator[bytes]:
        data = (self.place / Path(url).name).read_bytes()
        self._connect().put_object(Bucket=self.name, Key=self._key(url), Body=data)
        return super().get(url)


def test_bundles_travel_through_the_bucket_and_secrets_do_not(over_s3: Remote) -> None:
    host = over_s3.host()
    over_s3.hand_over(host, KEY)
    held = [path.read_bytes() for path in (over_s3.link.home / "s3").iterdir()]
    assert len(held) == 1
    [there] = over_s3.runs.glob("*/slurm/key")
    assert there.read_text() == "secret"
    assert over_s3.attempt(KEY).task_json.exists()
    leave(over_s3, KEY, result_json="{}")
    assert host.fetch([KEY]) == {}
    assert attempt_of(over_s3.run_dir, KEY).result_json.exists()
    assert over_s3.bucket is not None
    listed = over_s3.bucket._connect().list_objects_v2(Bucket="ours")
    assert listed["KeyCount"] == 0


@pytest.mark.parametrize("way", ["remote", "over_s3"])
def test_existing_code_is_sent_once_a_session(way: str, request: pytest.FixtureRequest) -> None:
    cluster: Remote = request.getfixturevalue(way)
    host = cluster.host()
    (cluster.run_dir / BASE_NAME).write_bytes(b"packed")

    def submit(host: RemoteHost, name: str) -> bytes:
        index = f"slurm/{name}/index.json"
        host.run(["sbatch"], Upload([UploadFile(index, b"{}")], [KEY], once=f"slurm/{name}"))
        [there] = cluster.runs.glob(f"{RUN}-*/{BASE_NAME}")
        return there.read_bytes()

    cluster.hand_over(host, KEY)
    assert submit(host, "b") == b"packed"
    (cluster.run_dir / BASE_NAME).write_bytes(b"another")
    assert submit(host, "c") == b"packed", "it was sent again"
    assert submit(cluster.host(), "d") == b"another", "whoever goes on cannot know what is there"


class RecordingTransfers(Transfers):
    """Keeps all reports about transfers elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: dict[str, list[int]] = {}

    @contextmanager
    def track(self, verb: str, total: int = 0, route: str = "") -> Iterator[Callable[[int], None]]:
        with super().track(verb, total, route) as report:

            def both(done: int) -> None:
                report(done)
                if route:
                    self.reports.setdefault(self.summary(verb), []).append(done)

            yield both


def test_a_transfer_that_takes_longer_than_the_idle_time_completes(
    over_s3: Remote,
) -> None:
    aws = (over_s3.link.bin / "aws").read_text(encoding="utf-8")
    over_s3.link.fake("aws", f"sleep 4\n{aws}")
    over_s3.link.idle_s = 3.0  # long enough for a busy machine, shorter than the transfer
    transfers = RecordingTransfers()
    host = over_s3.host(transfers, heartbeat_s=0.2)
    over_s3.hand_over(host, KEY)
    assert all(words.endswith(" MB sent on to the head node") for words in transfers.reports)
    leave(over_s3, KEY, result_json="{}", log_txt="x")
    assert host.fetch([KEY]) == {}
    assert max(transfers.reports["0.0 MB received by the bucket"]) > 0
    assert attempt_of(over_s3.run_dir, KEY).result_json.exists()


def test_nobody_has_to_wait_for_silence_to_be_broken() -> None:
    assert HEARTBEAT_S * 3 <= IDLE_S


def test_what_the_cli_there_complains_of_is_reported(over_s3: Remote) -> None:
    over_s3.link.fake("aws", "echo AccessDenied >&2; exit 1")
    host = over_s3.host()
    with pytest.raises(BackendError, match="aws s3 cp: AccessDenied"):
        over_s3.hand_over(host, KEY)
    with pytest.raises(BackendError, match="aws s3 cp: AccessDenied"):
        host.fetch([KEY])


def test_what_cut_transfers_have_left_is_named_and_goes_with_the_run(
    over_s3: Remote,
) -> None:
    assert over_s3.bucket is not None
    client = over_s3.bucket._connect()
    notes = over_s3.run_dir / "slurm" / "objects"
    notes.mkdir(parents=True)
    (notes / "token").touch()
    client.put_object(Bucket="ours", Key="parallel-orchestrator/token", Body=b"x")
    backend = over_s3.backend(aws_s3_bucket="ours")
    assert backend.leftovers(RUN) == ["objects of interrupted transfers in the bucket ours"]
    assert backend.leftovers("another-run") == []
    backend.cleanup("another-run")
    assert client.list_objects_v2(Bucket="ours")["KeyCount"] == 1
    backend.cleanup(RUN)
    assert client.list_objects_v2(Bucket="ours")["KeyCount"] == 0
    assert backend.leftovers(RUN) == []


def test_a_bucket_that_cannot_be_used_is_a_problem_before_a_run(remote: Remote) -> None:
    assert "no command aws" in remote.backend(aws_s3_bucket="ours").preflight()[0].what
    remote.link.fake("aws", "true")
    with mock_aws():
        [problem] = remote.backend(aws_s3_bucket="never-made").preflight()
        assert "The bucket never-made could not be used" in problem.what
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="ours")
        assert remote.backend(aws_s3_bucket="ours", aws_region="us-east-1").preflight() == []


# -- before a run


def problems_of(remote: Remote, **options: Any) -> list[str]:
    return [problem.what for problem in remote.backend(**options).preflight()]


def test_a_cluster_that_is_well_is_no_problem(remote: Remote) -> None:
    assert problems_of(remote) == []


def test_without_a_name_nobody_is_asked(remote: Remote) -> None:
    [problem] = remote.backend(aws_head_node="").preflight()
    assert problem.what == "No cluster is named."
    assert remote.link.calls == []


def test_a_key_file_that_is_missing_is_reported_before_anything_is_asked(
    remote: Remote,
) -> None:
    assert problems_of(remote, aws_ssh_key=remote.place / "k.pem") == [
        f"The key file {remote.place}/k.pem was not found."
    ]
    assert remote.link.calls == []
    (remote.place / "k.pem").touch()
    assert problems_of(remote, aws_ssh_key=remote.place / "k.pem") == []


def test_a_cluster_by_its_name_is_looked_for_first(remote: Remote) -> None:
    with aws_with_cluster():
        assert problems_of(remote, aws_head_node="", aws_cluster_name=NAME) == []
        [problem] = problems_of(remote, aws_head_node="", aws_cluster_name="other")
    assert problem == "The cluster 'other' was not found in eu-central-1."


def test_a_cluster_that_is_being_updated_is_not_used(remote: Remote) -> None:
    with aws_with_cluster():
        backend = remote.backend(aws_head_node="", aws_cluster_name=NAME)
        backend._finder.clusters = Updating(REGION, Credentials())
        [problem] = backend.preflight()
    assert "UPDATE_IN_PROGRESS" in problem.what


class Updating(Ec2Clusters):
    def stack_state(self, cluster: str) -> str:
        return "UPDATE_IN_PROGRESS"


def test_a_host_without_slurm_is_reported(remote: Remote) -> None:
    (remote.link.bin / "sbatch").unlink()
    assert problems_of(remote) == ["The head node lacks Slurm's sbatch."]


def test_a_shared_directory_that_does_not_exist_is_told_and_not_made(remote: Remote) -> None:
    shared = remote.place / "nope" / "it's shared"
    [problem] = problems_of(remote, aws_shared_dir=str(shared))
    assert problem == "On the head node: the directory of --aws-shared-dir does not exist."
    assert not shared.parent.exists()
    shared.mkdir(parents=True)
    assert problems_of(remote, aws_shared_dir=str(shared)) == []


def test_without_a_setup_the_clusters_own_python_has_to_do(remote: Remote) -> None:
    remote.link.fake("python3", f'exec {sys.executable} -IS "$@"')
    [problem] = problems_of(remote, slurm_setup=None)
    assert problem.startswith("The cluster's python3 lacks packages: anthropic")
    assert problems_of(remote, slurm_setup=None, slurm_container="docker://worker") == []


def test_an_old_python_is_reported_with_its_version(remote: Remote) -> None:
    [problem] = python_problems((3, 9, 16), [], "Mend it.")
    assert problem.what == "The cluster's python3 is 3.9.16, too old for workers."
    assert python_problems((3, 11, 2), [], "Mend it.") == []


def test_a_fleet_that_is_stopped_is_reported_with_why_and_how_to_start_it(
    remote: Remote,
) -> None:
    reasons = (
        "(Code:InsufficientInstanceCapacity)Failure when resuming nodes|compute-dy-small-[1-2]"
    )
    script = f"case \"$*\" in *list-reasons*) echo '{reasons}';; *) echo 'compute*|inact|3';; esac"
    remote.link.fake("sinfo", script)
    [problem] = remote.backend(aws_cluster_name="c").preflight()
    assert "compute is INACTIVE" in problem.what
    assert "compute-dy-small-[1-2]: InsufficientInstanceCapacity, Failure" in problem.what
    assert problem.fix.endswith(
        "update-compute-fleet --cluster-name c --region eu-central-1 --status START_REQUESTED"
    )


def test_another_problem_of_slurm_stays_as_it_is(remote: Remote) -> None:
    remote.link.fake("sinfo", "echo 'compute*|down|3'")
    assert problems_of(remote) == ["No jobs can start now: compute is down."]


def test_a_head_node_that_cannot_be_reached_is_a_problem(remote: Remote) -> None:
    remote.link.greets = False
    remote.link.fake("python3", "exit 1")
    assert problems_of(remote) == ["cut"]


# -- while it runs


TWO_QUEUES = """case "$*" in
*list-reasons*--partition=gpu*) echo '(Code:Wrong)no|gpu-1';;
*list-reasons*--partition=compute*) echo '(Code:VcpuLimitExceeded)no|n-[1-2]';;
*list-reasons*) echo '(Code:Wrong)no|gpu-1'; echo '(Code:VcpuLimitExceeded)no|n-[1-2]';;
*) echo 'gpu|up|1'; echo 'compute*|up|3';; esac"""


def waiting(remote: Remote, **options: Any) -> Callable[[], str]:
    """What is told of a job that waits, whenever it is polled."""
    backend = remote.backend(**options)
    row = f"7||PENDING|0|Resources|parallel-orchestrator:x|orchestrator-{RUN}|/"
    remote.link.fake("squeue", f"echo '{row}'")
    backend._arrays.add(_array())
    handle = JobHandle(KEY, "parallelcluster", "7")

    def poll() -> str:
        status = backend.poll([handle])[KEY]
        assert status.state is JobState.QUEUED
        return status.message

    return poll


def asked_for_reasons(remote: Remote) -> int:
    return sum(b"list-reasons" in call for call in remote.link.calls)


def test_why_nodes_do_not_start_stands_beside_jobs_that_wait(remote: Remote) -> None:
    assert isinstance(remote.clock, FakeClock)
    remote.link.fake("sinfo", TWO_QUEUES)
    poll = waiting(remote)
    for _ in range(3):
        assert poll().endswith("; nodes that failed to start: n-[1-2]: VcpuLimitExceeded, no")
    assert asked_for_reasons(remote) == 1
    remote.clock.now += 61
    poll()
    assert asked_for_reasons(remote) == 2


def test_nodes_that_jobs_are_not_for_are_not_told(remote: Remote) -> None:
    remote.link.fake("sinfo", TWO_QUEUES)
    assert waiting(remote, slurm_partition="gpu")().endswith("start: gpu-1: Wrong, no")
    assert waiting(remote, slurm_partition="another")() == waiting(remote, slurm_partition="none")()


@pytest.mark.parametrize("word", [b"list-reasons", b"%P|%a"], ids=["reasons", "partitions"])
def test_a_poll_does_without_what_sinfo_would_say(remote: Remote, word: bytes) -> None:
    assert isinstance(remote.clock, FakeClock)
    poll = waiting(remote)
    remote.link.cuts = word
    assert "nodes that failed to start" not in poll()
    remote.link.cuts = b""
    remote.link.fake("sinfo", "exit 1")
    remote.clock.now += 61
    assert "nodes that failed to start" not in poll()
    remote.link.fake("sinfo", TWO_QUEUES)
    remote.clock.now += 61
    assert poll().endswith("n-[1-2]: VcpuLimitExceeded, no")


def _array() -> Any:
    from backends.slurm.arrays import JobArray

    return JobArray("x", (KEY,), b"", ["7"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Welcome", ""),
        ("bad|n1\nworse|n2", "nodes that failed to start: n1: bad; n2: worse"),
    ],
)
def test_reasons_are_read_as_they_are(text: str, expected: str) -> None:
    assert parse_reasons(text) == expected


def test_what_is_left_is_named_and_goes(remote: Remote) -> None:
    backend = remote.backend()
    remote.hand_over(backend._remote, KEY)
    [phrase] = backend.leftovers(RUN)
    assert phrase.startswith(f"directory {remote.runs}/{RUN}-")
    assert backend.known_runs(remote.place / "work") == [RUN]
    assert backend.known_runs(remote.place / "elsewhere") == []
    backend.cleanup("another-run")
    assert len(backend.leftovers(RUN)) == 1
    for _ in range(2):
        backend.cleanup(RUN)
    assert backend.leftovers(RUN) == []
    assert list(remote.runs.iterdir()) == []


def on_another_machine(remote: Remote) -> None:
    """The run was begun on one with the same path."""
    [there] = remote.runs.iterdir()
    (there / "origin").write_text(work_dir_id(remote.place / "work", host="another"))


def beside(remote: Remote) -> None:
    """Here is a copy of the work directory."""
    shutil.copytree(remote.place / "work", remote.place / "original" / "work")
    [there] = remote.runs.iterdir()
    (there / "origin").write_text(work_dir_id(remote.place / "original" / "work"))


@pytest.mark.parametrize("copy", [on_another_machine, beside])
def test_a_copy_of_a_runs_directory_finds_its_jobs_and_removes_nothing(
    remote: Remote, copy: Callable[[Remote], None]
) -> None:
    remote.hand_over(remote.backend()._remote, KEY)
    copy(remote)
    backend, [there] = remote.backend(), remote.runs.iterdir()
    row = f"7||RUNNING|0|None|parallel-orchestrator:a|orchestrator-{RUN}|{there}"
    remote.link.fake("squeue", f"echo '{row}'")
    remote.link.fake("scancel", f"touch {remote.link.home}/cancelled")
    assert backend._remote.run_dir == str(there)
    assert backend.known_runs(remote.place / "work") == []
    assert backend.leftovers(RUN) == []
    backend.cleanup(RUN)
    assert there.exists()
    assert not (remote.link.home / "cancelled").exists()


@pytest.mark.parametrize("copy", [on_another_machine, beside])
def test_whoever_goes_on_with_a_copy_removes_what_is_left(
    remote: Remote, copy: Callable[[Remote], None]
) -> None:
    remote.hand_over(remote.backend()._remote, KEY)
    copy(remote)
    fetching, submitting = remote.backend(), remote.backend()
    fetching._remote.fetch([KEY])
    assert len(fetching.leftovers(RUN)) == 1
    remote.hand_over(submitting._remote, OTHER)
    assert len(submitting.leftovers(RUN)) == 1
    submitting.cleanup(RUN)
    assert list(remote.runs.iterdir()) == []


def test_a_run_that_was_moved_is_removed(remote: Remote) -> None:
    remote.hand_over(remote.backend()._remote, KEY)
    (remote.place / "work").rename(remote.place / "elsewhere")
    moved = Remote(remote.place / "elsewhere", remote.link)
    (moved.place / "runs").rename(moved.place / "work-runs")
    (moved.place / "work").mkdir()
    (moved.place / "work-runs").rename(moved.place / "work" / "runs")
    moved.backend().cleanup(RUN)
    assert list(remote.runs.iterdir()) == []


def test_after_a_cleanup_this_process_submits_nothing_and_another_goes_on(
    remote: Remote,
) -> None:
    backend = remote.backend()
    remote.hand_over(backend._remote, KEY)
    [before] = remote.runs.iterdir()
    backend.cleanup(RUN)
    with pytest.raises(BackendError, match="The run was cleaned up"):
        remote.hand_over(backend._remote, KEY)
    assert list(remote.runs.iterdir()) == []
    remote.hand_over(remote.host(), KEY)
    [after] = remote.runs.iterdir()
    assert after.name != before.name


def test_a_call_that_was_cut_off_submits_nothing_after_the_cleanup_by_another(
    remote: Remote,
) -> None:
    first, second = remote.backend(), remote.backend()
    remote.hand_over(first._remote, KEY)
    second.cleanup(RUN)
    (remote.run_dir / "slurm" / "remote-name").write_text(first._remote.name)
    with pytest.raises(BackendError, match="the run was cleaned up") as refused:
        remote.hand_over(first._remote, OTHER)
    assert refused.value.remedy == "Resume the run."
    assert list(remote.runs.iterdir()) == []


def test_a_run_whose_cleanup_was_cut_off_here_goes_on_under_another_name(remote: Remote) -> None:
    first = remote.host()
    remote.hand_over(first, KEY)
    old = first.name
    first.mark_cleaned_up([old])  # and then this machine died
    host = remote.host()
    remote.hand_over(host, KEY)
    assert host.name != old
    assert {path.name for path in remote.runs.iterdir()} == {old, host.name}
    host.remove_runs([])
    assert [path.name for path in remote.runs.iterdir()] == [host.name]


def test_jobs_are_cancelled_once_no_more_can_come(remote: Remote) -> None:
    backend = remote.backend()
    remote.hand_over(backend._remote, KEY)
    backend.cleanup(RUN)
    asked = [json.loads(call) for call in remote.link.calls if call.startswith(b"{")]
    names = [call["op"] for call in asked]
    [looked] = [n for n, call in enumerate(asked) if call.get("command", [""])[0] == "squeue"]
    assert names.index("mark_cleaned_up") < looked < names.index("remove_runs") == len(names) - 1


def test_a_run_whose_directory_here_is_gone_is_found_and_removed(remote: Remote) -> None:
    remote.hand_over(remote.host(), KEY)
    (remote.run_dir / "slurm" / "remote-name").unlink()
    backend = remote.backend()
    assert len(backend.leftovers(RUN)) == 1
    backend.cleanup(RUN)
    assert list(remote.runs.iterdir()) == []


# -- credentials


KEYS = Credentials(aws_access_key_id="id", aws_secret_access_key="secret")


@pytest.mark.parametrize(
    ("held", "sent"),
    [
        (Credentials(aws_profile="mine"), Credentials()),
        (Credentials(), Credentials()),
        (KEYS, KEYS),
        (Credentials(aws_access_key_id="id", aws_profile="mine"), Credentials()),
        (Credentials(aws_bearer_token_bedrock="b", aws_profile="mine"), None),
    ],
    ids=["profile", "nothing", "keys", "keys beside a profile", "bearer token"],
)
def test_for_bedrock_nodes_have_their_role_unless_keys_are_given(
    held: Credentials, sent: Credentials | None
) -> None:
    settings = ParallelClusterSettings(real=True, provider="bedrock")
    wanted = Credentials(aws_bearer_token_bedrock="b") if sent is None else sent
    assert node_credentials(held, settings) == wanted


def test_for_the_api_its_key_is_sent_and_nothing_else() -> None:
    held = Credentials(anthropic_api_key="k", aws_access_key_id="id")
    sent = node_credentials(held, ParallelClusterSettings(real=True))
    assert sent == Credentials(anthropic_api_key="k")
    assert node_credentials(held, ParallelClusterSettings()) == Credentials()


def test_how_far_a_transfer_has_come_is_reported(remote: Remote, tmp_path: Path) -> None:
    backend = remote.backend()
    path = tmp_path / "data"
    path.write_bytes(b"x" * 3_000_000)
    with path.open("rb") as stream:
        sending = backend._remote.transfers.sending(stream)
        next(sending)
        next(sending)
        assert backend.under_way("submit") == "0.1 of 3.0 MB sent"
        assert backend.under_way("collect") == backend.under_way("poll") == ""
        list(sending)
    assert backend.under_way("submit") == ""


def test_a_real_clock_and_a_run_directory_are_all_that_is_needed(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "work" / "runs" / RUN)
    options: Mapping[str, Any] = {"aws_head_node": "head"}
    context = BackendContext(run.root, Credentials(), SystemClock(), no_work, options, {})
    ParallelClusterBackend.build(context).close()
    assert not run.root.exists()
    assert ROOT.exists()


def test_a_probe_leaves_nothing_there_nor_here(remote: Remote) -> None:
    remote.link.fake("squeue", "exit 0")
    backend = remote.backend()
    [problem] = backend.probe()  # the fake sbatch runs no job
    assert "--aws-shared-dir" in problem.fix or "setup" in problem.fix
    assert list(remote.runs.iterdir()) == []
    assert list(remote.run_dir.iterdir()) == []


def test_what_jobs_say_is_followed_between_polls(remote: Remote) -> None:
    backend = remote.backend()
    remote.hand_over(backend._remote, KEY)
    leave(remote, KEY, events_jsonl='{"kind": "x"}\n')
    handle = JobHandle(KEY, "parallelcluster", "1")
    backend.on_change(lambda *_: None)
    assert backend.logs(handle, "").lines == ()
    assert backend._remote.await_news([KEY]) == []
    assert backend.logs(handle, "").lines == ('{"kind": "x"}',)
    assert backend.logs(JobHandle(JobKey("r", "x", 1), "parallelcluster", "1"), "").lines == ()


def test_whoever_reads_a_log_without_a_scheduler_gets_it_too(remote: Remote) -> None:
    backend = remote.backend()
    remote.hand_over(backend._remote, KEY)
    leave(remote, KEY, events_jsonl='{"kind": "x"}\n')
    assert backend.logs(JobHandle(KEY, "parallelcluster", "1"), "").lines == ('{"kind": "x"}',)


def test_a_place_that_keeps_nothing_is_reported(remote: Remote) -> None:
    remote.link.fake("mv", "exit 0")
    with pytest.raises(BackendError, match="do not stay there"):
        remote.host().run(["true"])
