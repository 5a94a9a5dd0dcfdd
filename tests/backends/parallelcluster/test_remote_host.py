"""A cluster's far side without SSH: the helper as a process here, and fake commands of Slurm."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import boto3
import pytest
from moto import mock_aws

from backends.base import BackendContext
from backends.parallelcluster.cluster import ClusterFinder, parse_reasons
from backends.parallelcluster.discovery import Ec2Clusters
from backends.parallelcluster.progress import Transfers
from backends.parallelcluster.remote_host import RemoteHost
from backends.parallelcluster.rpc import BEAT_S, HeadNodeClient
from backends.parallelcluster.s3_transfer import TransferBucket
from backends.parallelcluster.settings import ParallelClusterSettings
from backends.parallelcluster.ssh import QUIET_S
from backends.parallelcluster.ssh_streams import Feeding, PatientReader
from backends.parallelcluster_backend import ParallelClusterBackend, node_credentials
from backends.shared.results import attempt_of
from backends.shared.work_dir_id import place_of
from backends.slurm.host import LOG_TAIL_BYTES, Upload, UploadFile
from core.bundle import AttemptDir
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.errors import BackendError, CollectError
from core.job import JobHandle, JobKey, JobState
from engine.run.rundir import RunDir
from tests.fakes.seams import FakeClock
from tests.live.remote_cluster import NAME, REGION, ROOT, aws_with_cluster

RUN = "20260101-120000-aaaa"
KEY, OTHER = JobKey(RUN, "one", 1), JobKey(RUN, "two", 1)
UP = "compute*|up|3"
CONFIG = "MinJobAge = 300 sec"


@dataclass
class HereLink:
    """Runs what would go over SSH by a shell here, with a home and commands of its own."""

    home: Path
    commands: dict[str, str] = field(default_factory=dict)
    calls: list[bytes] = field(default_factory=list)
    greets: bool = True
    cuts: bytes = b""
    """A request that holds this does not come through."""
    quiet_s: float = 60.0

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
        feeding = Feeding(process, chunks)
        try:
            yield io.BufferedReader(PatientReader(process, feeding, self.quiet_s))
        except EOFError as exc:
            raise BackendError("cut") from exc
        finally:
            feeding.end()

    def close(self) -> None:
        pass

    def asked(self, op: str) -> int:
        return sum(f'"op": "{op}"'.encode() in call for call in self.calls)


@dataclass
class Far:
    """A run here, and what there is of it on the other side."""

    place: Path
    link: HereLink
    clock: Clock = field(default_factory=FakeClock)
    bucket: TransferBucket | None = None

    @property
    def run_dir(self) -> Path:
        return self.place / "work" / "runs" / RUN

    def site(self, transfers: Transfers | None = None, beat_s: float = BEAT_S) -> RemoteHost:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        head = HeadNodeClient(self.link, beat_s=beat_s)
        return RemoteHost(self.run_dir, head, self.clock, self.bucket, transfers)

    def backend(
        self, credentials: Credentials | None = None, **options: Any
    ) -> ParallelClusterBackend:
        settings = {"aws_head_node": "head", "slurm_setup": self.setup(), **options}
        self.run_dir.mkdir(parents=True, exist_ok=True)
        held = credentials or Credentials()
        site = BackendContext(self.run_dir, held, self.clock, _no_work, settings, {})
        read = ParallelClusterSettings.read(settings)
        finder = ClusterFinder(read, Ec2Clusters(REGION, Credentials()))
        return ParallelClusterBackend.over(self.link, finder, site)

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

    def hand_over(self, site: RemoteHost, *keys: JobKey) -> None:
        for key in keys:
            request = attempt_of(self.run_dir, key).request
            request.mkdir(parents=True, exist_ok=True)
            (request / "task.json").write_text(f'"{key}"', encoding="utf-8")
        files = [UploadFile("slurm/a/index.json", b"{}"), UploadFile("slurm/key", b"secret", 0o600)]
        done = site.run(["sbatch"], Upload(files, keys, once="slurm/a"))
        assert done.stdout == "1\n"


def _no_work(attempt: AttemptDir, claimant: str, clock: Clock) -> object:
    raise AssertionError("No jobs are run here.")


@pytest.fixture
def far(tmp_path: Path) -> Far:
    return Far(tmp_path, HereLink(tmp_path / "head"))


def leave(far: Far, key: JobKey, **files: str) -> AttemptDir:
    """What a worker leaves there."""
    attempt = far.attempt(key)
    attempt.result.mkdir(exist_ok=True)
    for name, text in files.items():
        (attempt.result / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return attempt


# -- the site


def test_the_helper_is_copied_once_and_its_answers_found_after_greetings(far: Far) -> None:
    site = far.site()
    assert site.run(["echo", "hello"]).stdout == "hello\n"
    assert site.run(["echo", "again"]).stdout == "again\n"
    helpers = list((far.link.home / ".parallel-orchestrator").glob("head_node-*.pyz"))
    assert len(helpers) == 1
    assert far.link.asked("greet") == 2  # the first found no helper
    assert len(far.link.calls) == 5


def test_a_submission_is_one_call_with_all_that_it_needs(far: Far) -> None:
    site = far.site()
    assert site.missing_commands(["sbatch"]) == []
    before = len(far.link.calls)
    far.hand_over(site, KEY, OTHER)
    assert len(far.link.calls) - before == 1
    assert far.attempt(KEY).task_json.read_text() == f'"{KEY}"'
    assert (Path(site.worker_code()) / "batch_executor.py").exists()
    assert (far.run_dir / "slurm" / "a" / "index.json").read_bytes() == b"{}"
    assert not (far.run_dir / "slurm" / "key").exists()


def test_code_that_somebody_removed_is_sent_again(far: Far) -> None:
    site = far.site()
    far.hand_over(site, KEY)
    code = Path(site.worker_code())
    code.rename(code.with_name("gone"))
    site.run(["sbatch"], Upload([UploadFile("x", b"")], [KEY]))
    assert (code / "batch_executor.py").exists()


def test_a_name_is_made_once_and_found_by_others(far: Far) -> None:
    first, second = far.site(), far.site()
    far.hand_over(first, KEY)
    assert first.run_dir == second.run_dir
    assert Path(first.run_dir).name.startswith(f"{RUN}-")


def test_a_look_keeps_what_jobs_say_here(far: Far) -> None:
    site = far.site()
    far.hand_over(site, KEY)
    events = attempt_of(far.run_dir, KEY).events
    there = leave(far, KEY, events_jsonl='{"a": 1}\n{"b"')
    site.look(["squeue"], [KEY])
    assert events.read_text() == '{"a": 1}\n'
    there.events.write_text('{"a": 1}\n{"b": 2}\n')
    site.look(["squeue"], [KEY])
    assert events.read_text() == '{"a": 1}\n{"b": 2}\n'
    assert not site.trace(KEY).has_result
    assert site.trace(OTHER).claimed is False


def test_one_who_follows_jobs_gets_news_at_most_every_few_seconds(far: Far) -> None:
    assert isinstance(far.clock, FakeClock)
    site = far.site()
    far.hand_over(site, KEY)
    looks = []
    for _ in range(3):
        site.freshen(KEY)
        looks.append(far.link.asked("look"))
        far.clock.now += 1.5
    assert looks == [1, 1, 2]


def test_what_is_wrong_with_one_result_spoils_no_other(far: Far) -> None:
    site = far.site()
    far.hand_over(site, KEY, OTHER)
    leave(far, KEY, result_json="{}")
    (leave(far, OTHER, result_json="{}").result / "link").symlink_to("/etc/hostname")
    refused = site.fetch([KEY, OTHER])
    assert list(refused) == [OTHER]
    assert isinstance(refused[OTHER], CollectError)
    assert "no regular file" in refused[OTHER].message
    assert attempt_of(far.run_dir, KEY).result_json.read_text() == "{}"
    assert not attempt_of(far.run_dir, OTHER).result.exists()
    assert not list(far.run_dir.glob(".fetch-*"))


def test_a_result_that_is_fetched_again_replaces_what_is_here(far: Far) -> None:
    site = far.site()
    far.hand_over(site, KEY)
    for text in ("1", "2"):
        leave(far, KEY, log_txt=text)
        assert site.fetch([KEY]) == {}
        assert attempt_of(far.run_dir, KEY).log.read_text() == text


def test_the_ends_of_logs_are_kept_here(far: Far) -> None:
    site = far.site()
    assert site.tails([]) == {}
    far.hand_over(site, KEY)
    [there] = far.runs.glob("*/slurm/a")
    (there / "0.log").write_text("what went wrong")
    assert site.tails(["slurm/a/0.log", "slurm/a/1.log"])["slurm/a/0.log"] == "what went wrong"
    assert (far.run_dir / "slurm/a/0.log").read_text() == "what went wrong"
    assert not (far.run_dir / "slurm/a/1.log").exists()


def test_secrets_in_the_ends_of_logs_are_masked_before_they_are_kept(far: Far) -> None:
    key = "sk-ant-" + "k" * 90
    backend = far.backend(credentials=Credentials(anthropic_api_key=key))
    far.hand_over(backend._remote, KEY)
    [there] = far.runs.glob("*/slurm/a")
    (there / "0.log").write_text(f"refused: {key}")
    cut = LOG_TAIL_BYTES - len(key) // 2  # the end begins in the middle of it
    (there / "1.log").write_text(key + "x" * cut)
    found = backend._remote.tails(["slurm/a/0.log", "slurm/a/1.log"])
    kept = [(far.run_dir / "slurm" / "a" / name).read_text() for name in ("0.log", "1.log")]
    assert kept == list(found.values())
    assert kept[0].startswith("refused: ")
    assert not [text for text in kept if key[7:40] in text]


def test_only_runs_of_this_work_directory_are_ours(far: Far) -> None:
    site = far.site()
    far.hand_over(site, KEY)
    (far.runs / "other-0000").mkdir()
    (far.runs / "other-0000" / "origin").write_text("another machine")
    assert site.runs_here(far.place / "work") == [RUN]
    assert site.names_of("other") == []
    site.forget(site.names_of(RUN))
    assert [path.name for path in far.runs.iterdir()] == ["other-0000"]


def test_a_head_node_without_python_says_so(tmp_path: Path) -> None:
    link = HereLink(tmp_path / "head")
    (tmp_path / "head" / "tools" / "python3").unlink()
    with pytest.raises(BackendError, match="there is no python3 on its PATH"):
        Far(tmp_path, link).site().run(["true"])


def test_a_shared_directory_that_cannot_be_written_is_told(far: Far) -> None:
    (far.link.home / ".parallel-orchestrator").write_text("a file")
    with pytest.raises(BackendError):
        far.site().run(["true"])


# -- through a bucket


@pytest.fixture
def staged(far: Far) -> Iterator[Far]:
    """With a bucket, and an `aws` that knows as much of S3 as is needed, over files here."""
    far.link.fake(
        "aws",
        'store="$HOME/s3"; mkdir -p "$store"; from="$4"; to="$5"\n'
        '[ "$from" = "-" ] && { cat > "$store/$(basename "$to")"; exit; }\n'
        'cat "$store/$(basename "$from")" || { echo "no such key" >&2; exit 1; }',
    )
    with mock_aws():
        client = boto3.client("s3", region_name=REGION)
        place = {"LocationConstraint": REGION}
        client.create_bucket(Bucket="ours", CreateBucketConfiguration=place)
        far.bucket = LinkedBucket("ours", lambda: client, Transfers(), far.run_dir)
        far.bucket.place = far.link.home / "s3"
        yield far


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


def test_bundles_travel_through_the_bucket_and_secrets_do_not(staged: Far) -> None:
    site = staged.site()
    staged.hand_over(site, KEY)
    held = [path.read_bytes() for path in (staged.link.home / "s3").iterdir()]
    assert len(held) == 1
    [there] = staged.runs.glob("*/slurm/key")
    assert there.read_text() == "secret"
    assert staged.attempt(KEY).task_json.exists()
    leave(staged, KEY, result_json="{}")
    assert site.fetch([KEY]) == {}
    assert attempt_of(staged.run_dir, KEY).result_json.exists()
    assert staged.bucket is not None
    listed = staged.bucket._connect().list_objects_v2(Bucket="ours")
    assert listed["KeyCount"] == 0


class HeardTransfers(Transfers):
    """Keeps all that is told of ways elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, list[int]] = {}

    @contextmanager
    def following(self, verb: str, way: str, total: int = 0) -> Iterator[Callable[[int], None]]:
        with super().following(verb, way, total) as follow:

            def both(done: int) -> None:
                follow(done)
                self.told.setdefault(self.words(verb), []).append(done)

            yield both


def test_a_transfer_that_takes_longer_than_silence_may_last_comes_to_its_end(staged: Far) -> None:
    aws = (staged.link.bin / "aws").read_text(encoding="utf-8")
    staged.link.fake("aws", f"sleep 1.5\n{aws}")
    staged.link.quiet_s = 0.7
    transfers = HeardTransfers()
    site = staged.site(transfers, beat_s=0.2)
    staged.hand_over(site, KEY)
    assert all(words.endswith(" MB sent on to the head node") for words in transfers.told)
    leave(staged, KEY, result_json="{}", log_txt="x")
    assert site.fetch([KEY]) == {}
    assert max(transfers.told["0.0 MB received by the bucket"]) > 0
    assert attempt_of(staged.run_dir, KEY).result_json.exists()


def test_nobody_has_to_wait_for_silence_to_be_broken() -> None:
    assert BEAT_S * 3 <= QUIET_S


def test_what_the_cli_there_complains_of_is_told(staged: Far) -> None:
    staged.link.fake("aws", "echo AccessDenied >&2; exit 1")
    site = staged.site()
    with pytest.raises(BackendError, match="aws s3 cp: AccessDenied"):
        staged.hand_over(site, KEY)
    with pytest.raises(BackendError, match="aws s3 cp: AccessDenied"):
        site.fetch([KEY])


def test_what_cut_transfers_have_left_is_named_and_goes_with_the_run(staged: Far) -> None:
    assert staged.bucket is not None
    client = staged.bucket._connect()
    notes = staged.run_dir / "slurm" / "objects"
    notes.mkdir(parents=True)
    (notes / "token").touch()
    client.put_object(Bucket="ours", Key="parallel-orchestrator/token", Body=b"x")
    backend = staged.backend(aws_s3_bucket="ours")
    assert backend.leftovers(RUN) == ["what a cut transfer may have left in the bucket ours"]
    assert backend.leftovers("another-run") == []
    backend.cleanup("another-run")
    assert client.list_objects_v2(Bucket="ours")["KeyCount"] == 1
    backend.cleanup(RUN)
    assert client.list_objects_v2(Bucket="ours")["KeyCount"] == 0
    assert backend.leftovers(RUN) == []


def test_a_bucket_that_cannot_be_used_is_a_problem_before_a_run(far: Far) -> None:
    assert "no aws" in far.backend(aws_s3_bucket="ours").preflight()[0].what
    far.link.fake("aws", "true")
    with mock_aws():
        [problem] = far.backend(aws_s3_bucket="never-made").preflight()
        assert "The bucket never-made cannot be used" in problem.what
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="ours")
        assert far.backend(aws_s3_bucket="ours", aws_region="us-east-1").preflight() == []


# -- before a run


def whats(far: Far, **options: Any) -> list[str]:
    return [problem.what for problem in far.backend(**options).preflight()]


def test_a_cluster_that_is_well_is_no_problem(far: Far) -> None:
    assert whats(far) == []


def test_without_a_name_nobody_is_asked(far: Far) -> None:
    [problem] = far.backend(aws_head_node="").preflight()
    assert problem.what == "No cluster is named."
    assert far.link.calls == []


def test_a_key_that_is_named_and_is_not_there_is_told_before_anything_is_asked(far: Far) -> None:
    assert whats(far, aws_ssh_key=far.place / "k.pem") == [
        f"There is no key file {far.place}/k.pem."
    ]
    assert far.link.calls == []
    (far.place / "k.pem").touch()
    assert whats(far, aws_ssh_key=far.place / "k.pem") == []


def test_a_cluster_by_its_name_is_looked_for_first(far: Far) -> None:
    with aws_with_cluster():
        assert whats(far, aws_head_node="", aws_cluster_name=NAME) == []
        [told] = whats(far, aws_head_node="", aws_cluster_name="other")
    assert told == "There is no cluster 'other' in eu-central-1."


def test_a_cluster_that_is_being_updated_is_not_used(far: Far) -> None:
    with aws_with_cluster():
        backend = far.backend(aws_head_node="", aws_cluster_name=NAME)
        backend._finder.clusters = Updating(REGION, Credentials())
        [problem] = backend.preflight()
    assert "is being updated" in problem.what


class Updating(Ec2Clusters):
    def stack_state(self, cluster: str) -> str:
        return "UPDATE_IN_PROGRESS"


def test_a_host_without_slurm_is_told(far: Far) -> None:
    (far.link.bin / "sbatch").unlink()
    assert whats(far) == ["The head node has no sbatch."]


def test_without_a_setup_the_clusters_own_python_has_to_do(far: Far) -> None:
    far.link.fake("python3", f'exec {sys.executable} -IS "$@"')
    [told] = whats(far, slurm_setup=None)
    assert told.startswith("The cluster's python3 lacks packages: anthropic")
    assert whats(far, slurm_setup=None, slurm_container="docker://worker") == []


def test_an_old_python_is_told_with_its_version(far: Far) -> None:
    backend = far.backend()
    [problem] = backend._python_problems((3, 9, 16), "")
    assert problem.what == "The cluster's python3 is 3.9.16, which runs no workers."
    assert backend._python_problems((3, 11, 2), "") == []


def test_a_fleet_that_is_stopped_is_told_with_why_and_how_to_start_it(far: Far) -> None:
    reasons = (
        "(Code:InsufficientInstanceCapacity)Failure when resuming nodes|compute-dy-small-[1-2]"
    )
    script = f"case \"$*\" in *list-reasons*) echo '{reasons}';; *) echo 'compute*|inact|3';; esac"
    far.link.fake("sinfo", script)
    [problem] = far.backend(aws_cluster_name="c").preflight()
    assert "compute is INACTIVE" in problem.what
    assert "compute-dy-small-[1-2]: InsufficientInstanceCapacity, Failure" in problem.what
    assert problem.fix.endswith(
        "update-compute-fleet --cluster-name c --region eu-central-1 --status START_REQUESTED"
    )


def test_another_problem_of_slurm_stays_as_it_is(far: Far) -> None:
    far.link.fake("sinfo", "echo 'compute*|down|3'")
    assert whats(far) == ["No job starts there now: compute is down."]


def test_a_head_node_that_cannot_be_reached_is_a_problem(far: Far) -> None:
    far.link.greets = False
    far.link.fake("python3", "exit 1")
    assert whats(far) == ["cut"]


# -- while it runs


TWO_QUEUES = """case "$*" in
*list-reasons*--partition=gpu*) echo '(Code:Wrong)no|gpu-1';;
*list-reasons*--partition=compute*) echo '(Code:VcpuLimitExceeded)no|n-[1-2]';;
*list-reasons*) echo '(Code:Wrong)no|gpu-1'; echo '(Code:VcpuLimitExceeded)no|n-[1-2]';;
*) echo 'gpu|up|1'; echo 'compute*|up|3';; esac"""


def waiting(far: Far, **options: Any) -> Callable[[], str]:
    """What is told of a job that waits, whenever it is polled."""
    backend = far.backend(**options)
    row = f"7||PENDING|0|Resources|parallel-orchestrator:x|orchestrator-{RUN}|/"
    far.link.fake("squeue", f"echo '{row}'")
    backend._batches.add(_batch())
    handle = JobHandle(KEY, "parallelcluster", "7")

    def poll() -> str:
        status = backend.poll([handle])[KEY]
        assert status.state is JobState.QUEUED
        return status.message

    return poll


def asked_for_reasons(far: Far) -> int:
    return sum(b"list-reasons" in call for call in far.link.calls)


def test_why_nodes_do_not_start_stands_beside_jobs_that_wait(far: Far) -> None:
    assert isinstance(far.clock, FakeClock)
    far.link.fake("sinfo", TWO_QUEUES)
    poll = waiting(far)
    for _ in range(3):
        assert poll().endswith("; nodes that do not start: n-[1-2]: VcpuLimitExceeded, no")
    assert asked_for_reasons(far) == 1
    far.clock.now += 61
    poll()
    assert asked_for_reasons(far) == 2


def test_nodes_that_jobs_are_not_for_are_not_told(far: Far) -> None:
    far.link.fake("sinfo", TWO_QUEUES)
    assert waiting(far, slurm_partition="gpu")().endswith("start: gpu-1: Wrong, no")
    assert waiting(far, slurm_partition="another")() == waiting(far, slurm_partition="none")()


@pytest.mark.parametrize("word", [b"list-reasons", b"%P|%a"], ids=["reasons", "partitions"])
def test_a_poll_does_without_what_sinfo_would_say(far: Far, word: bytes) -> None:
    assert isinstance(far.clock, FakeClock)
    poll = waiting(far)
    far.link.cuts = word
    assert "nodes that do not start" not in poll()
    far.link.cuts = b""
    far.link.fake("sinfo", "exit 1")
    far.clock.now += 61
    assert "nodes that do not start" not in poll()
    far.link.fake("sinfo", TWO_QUEUES)
    far.clock.now += 61
    assert poll().endswith("n-[1-2]: VcpuLimitExceeded, no")


def _batch() -> Any:
    from backends.slurm.arrays import JobArray

    return JobArray("x", (KEY,), b"", ["7"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ("Welcome", ""),
        ("bad|n1\nworse|n2", "nodes that do not start: n1: bad; n2: worse"),
    ],
)
def test_reasons_are_read_as_they_are(text: str, told: str) -> None:
    assert parse_reasons(text) == told


def test_what_is_left_is_named_and_goes(far: Far) -> None:
    backend = far.backend()
    far.hand_over(backend._remote, KEY)
    [phrase] = backend.leftovers(RUN)
    assert phrase.startswith(f"directory {far.runs}/{RUN}-")
    assert backend.known_runs(far.place / "work") == [RUN]
    assert backend.known_runs(far.place / "elsewhere") == []
    backend.cleanup("another-run")
    assert len(backend.leftovers(RUN)) == 1
    for _ in range(2):
        backend.cleanup(RUN)
    assert backend.leftovers(RUN) == []
    assert list(far.runs.iterdir()) == []


def on_another_machine(far: Far) -> None:
    """The run was begun on one with the same path."""
    [there] = far.runs.iterdir()
    (there / "origin").write_text(place_of(far.place / "work", host="another"))


def beside(far: Far) -> None:
    """Here is a copy of the work directory."""
    shutil.copytree(far.place / "work", far.place / "original" / "work")
    [there] = far.runs.iterdir()
    (there / "origin").write_text(place_of(far.place / "original" / "work"))


@pytest.mark.parametrize("copy", [on_another_machine, beside])
def test_a_copy_of_a_runs_directory_finds_its_jobs_and_removes_nothing(
    far: Far, copy: Callable[[Far], None]
) -> None:
    far.hand_over(far.backend()._remote, KEY)
    copy(far)
    backend, [there] = far.backend(), far.runs.iterdir()
    row = f"7||RUNNING|0|None|parallel-orchestrator:a|orchestrator-{RUN}|{there}"
    far.link.fake("squeue", f"echo '{row}'")
    far.link.fake("scancel", f"touch {far.link.home}/cancelled")
    assert backend._remote.run_dir == str(there)
    assert backend.known_runs(far.place / "work") == []
    assert backend.leftovers(RUN) == []
    backend.cleanup(RUN)
    assert there.exists()
    assert not (far.link.home / "cancelled").exists()


@pytest.mark.parametrize("copy", [on_another_machine, beside])
def test_whoever_goes_on_with_a_copy_removes_what_is_left(
    far: Far, copy: Callable[[Far], None]
) -> None:
    far.hand_over(far.backend()._remote, KEY)
    copy(far)
    fetching, submitting = far.backend(), far.backend()
    fetching._remote.fetch([KEY])
    assert len(fetching.leftovers(RUN)) == 1
    far.hand_over(submitting._remote, OTHER)
    assert len(submitting.leftovers(RUN)) == 1
    submitting.cleanup(RUN)
    assert list(far.runs.iterdir()) == []


def test_a_run_that_was_moved_is_removed(far: Far) -> None:
    far.hand_over(far.backend()._remote, KEY)
    (far.place / "work").rename(far.place / "elsewhere")
    moved = Far(far.place / "elsewhere", far.link)
    (moved.place / "runs").rename(moved.place / "work-runs")
    (moved.place / "work").mkdir()
    (moved.place / "work-runs").rename(moved.place / "work" / "runs")
    moved.backend().cleanup(RUN)
    assert list(far.runs.iterdir()) == []


def test_after_a_cleanup_this_process_submits_nothing_and_another_goes_on(far: Far) -> None:
    backend = far.backend()
    far.hand_over(backend._remote, KEY)
    [before] = far.runs.iterdir()
    backend.cleanup(RUN)
    with pytest.raises(BackendError, match="The run was cleaned up"):
        far.hand_over(backend._remote, KEY)
    assert list(far.runs.iterdir()) == []
    far.hand_over(far.site(), KEY)
    [after] = far.runs.iterdir()
    assert after.name != before.name


def test_a_call_that_was_cut_off_submits_nothing_after_the_cleanup_by_another(far: Far) -> None:
    first, second = far.backend(), far.backend()
    far.hand_over(first._remote, KEY)
    second.cleanup(RUN)
    (far.run_dir / "slurm" / "remote-name").write_text(first._remote.name)
    with pytest.raises(BackendError, match="the run was cleaned up") as refused:
        far.hand_over(first._remote, OTHER)
    assert refused.value.remedy == "Resume it to go on with it."
    assert list(far.runs.iterdir()) == []


def test_a_run_whose_cleanup_was_cut_off_here_goes_on_under_another_name(far: Far) -> None:
    first = far.site()
    far.hand_over(first, KEY)
    old = first.name
    first.seal([old])  # and then this machine died
    site = far.site()
    far.hand_over(site, KEY)
    assert site.name != old
    assert {path.name for path in far.runs.iterdir()} == {old, site.name}
    site.forget([])
    assert [path.name for path in far.runs.iterdir()] == [site.name]


def test_jobs_are_cancelled_once_no_more_can_come(far: Far) -> None:
    backend = far.backend()
    far.hand_over(backend._remote, KEY)
    backend.cleanup(RUN)
    asked = [json.loads(call) for call in far.link.calls if call.startswith(b"{")]
    names = [call["op"] for call in asked]
    [looked] = [n for n, call in enumerate(asked) if call.get("command", [""])[0] == "squeue"]
    assert names.index("seal") < looked < names.index("forget") == len(names) - 1


def test_a_run_whose_directory_here_is_gone_is_found_and_removed(far: Far) -> None:
    far.hand_over(far.site(), KEY)
    (far.run_dir / "slurm" / "remote-name").unlink()
    backend = far.backend()
    assert len(backend.leftovers(RUN)) == 1
    backend.cleanup(RUN)
    assert list(far.runs.iterdir()) == []


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


def test_how_far_a_transfer_has_come_is_told(far: Far, tmp_path: Path) -> None:
    backend = far.backend()
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
    site = BackendContext(run.root, Credentials(), SystemClock(), _no_work, options, {})
    ParallelClusterBackend.build(site).close()
    assert not run.root.exists()
    assert ROOT.exists()


def test_a_probe_leaves_nothing_there_nor_here(far: Far) -> None:
    far.link.fake("squeue", "exit 0")
    backend = far.backend()
    [problem] = backend.probe()  # the fake sbatch runs no job
    assert "--aws-shared-dir" in problem.fix or "setup" in problem.fix
    assert list(far.runs.iterdir()) == []
    assert list(far.run_dir.iterdir()) == []


def test_what_jobs_say_is_followed_between_polls(far: Far) -> None:
    backend = far.backend()
    far.hand_over(backend._remote, KEY)
    leave(far, KEY, events_jsonl='{"kind": "x"}\n')
    handle = JobHandle(KEY, "parallelcluster", "1")
    assert backend.logs(handle, "").lines == ('{"kind": "x"}',)
    assert backend.logs(JobHandle(JobKey("r", "x", 1), "parallelcluster", "1"), "").lines == ()
    far.link.fake("python3", "exit 1")
    (far.link.home / "tools" / "python3").unlink()
    backend._remote._looked_at = -100.0
    assert backend.logs(handle, "").lines == ('{"kind": "x"}',), "an outage is for poll to tell"


def test_a_place_that_keeps_nothing_is_told(far: Far) -> None:
    far.link.fake("mv", "exit 0")
    with pytest.raises(BackendError, match="does not keep what is written"):
        far.site().run(["true"])
