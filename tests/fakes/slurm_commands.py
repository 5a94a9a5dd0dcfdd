"""sbatch, squeue, scancel, sacct, scontrol and sinfo of a cluster that is only a folder.

Run as a program: `fake_slurm_commands.py COMMAND FOLDER ARGUMENT...`. Jobs really run, in the
background and with nothing but Slurm's variables; tests/fakes/slurm.py says what goes wrong.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED")
Job = dict[str, Any]


class Cluster:
    """The folder: `settings.json`, one file a job, and what was asked in `calls.jsonl`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def settings(self) -> dict[str, Any]:
        return dict(json.loads((self.root / "settings.json").read_text()))

    @contextmanager
    def locked(self) -> Iterator[None]:
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def jobs(self) -> list[Job]:
        found = [json.loads(path.read_text()) for path in self.root.glob("jobs/*.json")]
        return sorted(found, key=lambda job: (job["array"], job["place"]))

    def write(self, job: Job) -> None:
        path = self.root / "jobs" / f"{job['id']}.json"
        path.with_suffix(".new").write_text(json.dumps(job))
        path.with_suffix(".new").rename(path)

    def change(self, native_id: str, change: Callable[[Job], Job] = dict) -> Job:
        """Change a job's file, whoever else does."""
        with self.locked():
            path = self.root / "jobs" / f"{native_id}.json"
            job = change(json.loads(path.read_text()))
            self.write(job)
        return job

    def note(self, name: str, argv: Sequence[str], stdin: str = "") -> None:
        call = {"name": name, "argv": list(argv), "environ": dict(os.environ), "stdin": stdin}
        with (self.root / "calls.jsonl").open("a") as stream:
            stream.write(json.dumps(call) + "\n")


def fail(text: str) -> int:
    sys.stderr.write(text.rstrip("\n") + "\n")
    return 1


def use_up(cluster: Cluster, name: str) -> Any:
    """A setting that counts for one call; a list has one entry a call."""
    with cluster.locked():
        settings = cluster.settings()
        found = settings.get(name)
        if isinstance(found, list):
            if not found:
                return None
            found = settings[name].pop(0)
            (cluster.root / "settings.json").write_text(json.dumps(settings))
    return found


# -- sbatch


def sbatch(cluster: Cluster, argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("sbatch", allow_abbrev=False)
    for name in ("parsable", "test-only", "exclusive"):
        parser.add_argument(f"--{name}", action="store_true")
    for name in (
        *("export", "job-name", "comment", "chdir", "output", "open-mode", "signal", "array"),
        *("nodes", "ntasks", "cpus-per-task", "partition", "account", "qos", "time", "mem"),
        *("constraint", "gres"),
    ):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("script", nargs="?")
    asked = parser.parse_args(argv)
    script = Path(asked.script).read_text() if asked.script else sys.stdin.read()
    cluster.note("sbatch", argv, "" if asked.script else script)
    if refusal := use_up(cluster, "sbatch_refuses"):
        return fail(f"sbatch: error: {refusal}")
    if not script.startswith("#!"):
        return fail("sbatch: error: This does not look like a batch script.")
    if asked.test_only:
        return 0
    with cluster.locked():
        job_id, refusal = take(cluster, asked, script)
    if refusal:
        return fail(f"sbatch: error: {refusal}")
    if lost := use_up(cluster, "sbatch_loses_answer"):
        return fail(f"sbatch: error: {lost}")
    sys.stdout.write(str(use_up(cluster, "sbatch_prints") or "{id}\n").format(id=job_id))
    return 0


def take(cluster: Cluster, asked: argparse.Namespace, script: str) -> tuple[int, str]:
    settings, jobs = cluster.settings(), cluster.jobs()
    places = list(range(int(asked.array.partition("-")[2]) + 1)) if asked.array else [0]
    if asked.array and len(places) >= settings["max_array_size"]:
        return 0, "Batch job submission failed: Invalid job array specification"
    waiting = sum(job["state"] not in ENDED for job in jobs)
    if waiting + len(places) > settings.get("submit_limit", 10**6):
        return 0, (
            "QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates"
            " accounting/QOS policy (job submit limit, user's size and/or time limits)"
        )
    job_id = max((job["array"] for job in jobs), default=0) + 1
    (cluster.root / "jobs" / f"{job_id}.sh").write_text(script)
    for place in places:
        job: Job = {
            "id": f"{job_id}_{place}" if asked.array else str(job_id),
            "array": job_id,
            "place": place,
            "is_array": bool(asked.array),
            "state": "PENDING",
            "status": 0,
            "reason": settings.get("pending_reason", "None"),
            "name": settings.get("job_name", asked.job_name),
            "comment": settings.get("comment", asked.comment),
            "chdir": asked.chdir,
            "output": asked.output.replace("%a", str(place)),
            "command": asked.script,
            "pid": 0,
            "listed": True,
            "hidden": asked.partition in settings.get("hidden", []),
        }
        cluster.write(job)
        if not settings.get("holds"):
            start(cluster, job)
    return job_id, ""


def start(cluster: Cluster, job: Job) -> None:
    """The job's own process outlives this command."""
    here = [sys.executable, "-I", __file__, "run", str(cluster.root), job["id"]]
    quiet = subprocess.DEVNULL
    subprocess.Popen(here, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)


def run_job(cluster: Cluster, native_id: str) -> int:
    """As slurmstepd does: nothing but Slurm's own variables, output to the file, how it ended."""
    job = cluster.change(native_id)
    if job["state"] != "PENDING":
        return 0
    environ = {
        "PATH": f"{cluster.root / 'node-bin'}:/usr/bin:/bin",
        "HOME": str(cluster.root),
        "SLURM_CLUSTER_NAME": "fake",
        "SLURM_JOB_ID": str(1000 * job["array"] + job["place"]),
    }
    if job["is_array"]:
        environ["SLURM_ARRAY_TASK_ID"] = str(job["place"])
    script = cluster.root / "jobs" / f"{job['array']}.sh"
    script.chmod(0o755)
    with open(Path(job["chdir"]) / job["output"], "ab") as output:
        process = subprocess.Popen(
            [script],
            cwd=job["chdir"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    job = cluster.change(native_id, lambda job: begin(job, process.pid))
    if job["state"] in ENDED:  # cancelled meanwhile
        process.kill()
    code = process.wait()
    cluster.change(native_id, lambda job: finish(job, code))
    return 0


def begin(job: Job, pid: int) -> Job:
    if job["state"] == "PENDING":
        job |= {"state": "RUNNING", "reason": "None"}
    return job | {"pid": pid}


def finish(job: Job, code: int) -> Job:
    """What Slurm has said of the job before stands."""
    if job["state"] == "RUNNING":
        job["state"], job["reason"] = (
            ("FAILED", "NonZeroExitCode") if code else ("COMPLETED", "None")
        )
        job["status"] = code << 8 if code >= 0 else -code
    return job | {"pid": 0}


# -- the other commands


def squeue(cluster: Cluster, argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("squeue", allow_abbrev=False)
    for name in ("noheader", "array", "me"):
        parser.add_argument(f"--{name}", action="store_true", required=True)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--states", choices=["all"], required=True)
    parser.add_argument("--name")
    parser.add_argument("-O", dest="format", required=True)
    asked = parser.parse_args(argv)
    cluster.note("squeue", argv)
    if trouble := use_up(cluster, "squeue_fails"):
        return fail(f"slurm_load_jobs error: {trouble}")
    sys.stdout.write(cluster.settings().get("greeting", ""))
    for job in cluster.jobs():
        # https://slurm.schedmd.com/squeue.html#OPT_all
        shown = asked.all or not (job.get("hidden") or job["state"] == "REVOKED")
        if job["listed"] and shown and asked.name in (None, job["name"]):
            values = {
                "ArrayJobID": str(job["array"]),
                "ArrayTaskID": str(job["place"]) if job["is_array"] else "N/A",
                "State": job["state"],
                "exit_code": str(job["status"]),
                "Reason": job["reason"],
                "Comment": job["comment"] or "(null)",
                "Name": job["name"],
                "WorkDir": job["chdir"],
                "Command": job["command"],
            }
            cells = [field.partition(":") for field in asked.format.split(",")]
            sys.stdout.write("".join(values[name] + end for name, _, end in cells) + "\n")
    return 0


def scancel(cluster: Cluster, argv: Sequence[str]) -> int:
    cluster.note("scancel", argv)
    if trouble := use_up(cluster, "scancel_fails"):
        return fail(f"scancel: error: {trouble}")
    known, code = {job["id"]: job for job in cluster.jobs()}, 0
    for native_id in argv:
        job = known.get(native_id)
        if job is None or not job["listed"]:
            code = fail(
                f"scancel: error: Kill job error on job id {native_id}: Invalid job id specified"
            )
        elif job["state"] not in ENDED:
            job = cluster.change(native_id, cancelled)
            if job["pid"]:
                os.killpg(job["pid"], signal.SIGTERM)
    return code


def cancelled(job: Job) -> Job:
    return job | {"state": "CANCELLED", "status": int(signal.SIGTERM)}


def sacct(cluster: Cluster, argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("sacct", allow_abbrev=False)
    parser.add_argument("-X", action="store_true", required=True)
    for name in ("noheader", "parsable2"):
        parser.add_argument(f"--{name}", action="store_true", required=True)
    parser.add_argument("--jobs", required=True)
    parser.add_argument("--format", choices=["JobID,State,ExitCode"], required=True)
    asked = parser.parse_args(argv)
    cluster.note("sacct", argv)
    if trouble := use_up(cluster, "sacct_fails"):
        return fail(f"sacct: error: {trouble}")
    wanted = asked.jobs.split(",")
    for job in cluster.jobs():
        if job["id"] in wanted:
            code, number = job["status"] >> 8, job["status"] & 0x7F
            sys.stdout.write(f"{job['id']}|{job.get('accounted', job['state'])}|{code}:{number}\n")
    return 0


def scontrol(cluster: Cluster, argv: Sequence[str]) -> int:
    cluster.note("scontrol", argv)
    if list(argv) != ["show", "config"]:
        return fail(f"scontrol: error: not asked for here: {argv}")
    if trouble := use_up(cluster, "scontrol_fails"):
        return fail(f"scontrol: error: {trouble}")
    settings = cluster.settings()
    sys.stdout.write(
        "Configuration data\n"
        f"AccountingStorageType   = accounting_storage/{settings['accounting']}\n"
        f"MaxArraySize            = {settings['max_array_size']}\n"
        f"MinJobAge               = {settings['min_job_age']} sec\n"
    )
    return 0


def sinfo(cluster: Cluster, argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("sinfo", allow_abbrev=False)
    for name in ("noheader", "all"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--format", choices=["%P|%a|%D"], required=True)
    asked = parser.parse_args(argv)
    cluster.note("sinfo", argv)
    if trouble := use_up(cluster, "sinfo_fails"):
        return fail(f"slurm_load_partitions: {trouble}")
    settings = cluster.settings()
    for line in str(settings["sinfo"]).splitlines(keepends=True):
        if asked.all or line.partition("|")[0] not in settings.get("hidden", []):
            sys.stdout.write(line)
    return 0


COMMANDS = {
    "sbatch": sbatch,
    "squeue": squeue,
    "scancel": scancel,
    "sacct": sacct,
    "scontrol": scontrol,
    "sinfo": sinfo,
}


def main(name: str, folder: str, *argv: str) -> int:
    cluster = Cluster(Path(folder))
    if name == "run":
        return run_job(cluster, argv[0])
    if name == "release":
        for job in cluster.jobs():
            if job["state"] == "PENDING" and (job["id"] in argv or not argv):
                start(cluster, job)
        return 0
    return COMMANDS[name](cluster, argv)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
