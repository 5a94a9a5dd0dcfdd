"""An executor in a job of Slurm or AWS Batch: runs the job's attempt and leaves the result.

    batch_executor.py ARRAY_DIR NUMBER CLAIMANT [--contained]
                              run the attempt with this number in the index of the job array
                              (core.worker.job_index); CLAIMANT is the job's id and how often it
                              was started before, id#n; --contained: credentials come on stdin
    batch_executor.py --check FILE ENGINE PROVIDER HOST PORT
                              write to FILE, in JSON, whether one could run here (see `check`)
    batch_executor.py s3://BUCKET/...
                              run the attempt whose request is there, as a job of AWS Batch; each
                              line of events.jsonl is also printed, since its log is followed

SIGTERM and SIGUSR1 ask it to stop and save its result; Slurm sends the latter ahead of a time
limit.
"""

import os
import sys

if __name__ == "__main__":  # also with PYTHONSAFEPATH
    sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from core.startup import Imports

with Imports(1):
    import signal
    import socket
    import urllib.request
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import suppress
    from importlib import import_module
    from pathlib import Path
    from urllib.parse import urlsplit

    from core.aws.job import run_s3_job
    from core.bundle import AttemptDir, is_taken_over
    from core.clock import CheckedClock, Clock
    from core.credentials import Credentials, resolve_credentials
    from core.errors import Interrupted, Problem
    from core.wire import decode, encode, write_atomic
    from core.worker.check import WorkerCheck, read_check_request, write_check_result
    from core.worker.exit_codes import CLAIMED, FAILED
    from core.worker.job_index import BatchDir, await_file, read_index
    from core.worker.process import echo, read_credentials, report_error, run_process, run_worker
FENCE_EVERY_S = 5.0
STOPS = {
    signal.SIGTERM: "The job was told to stop.",
    signal.SIGUSR1: "The job's time limit was reached (--slurm-time).",
}


def work(batch: BatchDir, number: int, claimant: str, clock: Clock, *, contained: bool) -> bool:
    """Run the attempt; False when another worker has it."""
    await_file(batch.index, clock)
    attempt = batch.attempt(read_index(batch), number)
    await_file(attempt.task_json, clock)
    with Imports(FAILED):  # before the attempt is claimed: a node that cannot do it has not begun
        import_module("claude.sdk")
        from executor_agent import ExecutorAgent

    credentials = _given_credentials() if contained else read_credentials(batch.credentials)
    fenced = CheckedClock(clock, _fence(attempt, claimant, clock))
    agent = ExecutorAgent(credentials, fenced, contained=contained)
    return agent.run(attempt, claimant) is not None


def _given_credentials() -> Credentials:
    data = sys.stdin.buffer.read()
    return decode(Credentials, data, "standard input") if data else Credentials()


def _fence(attempt: AttemptDir, claimant: str, clock: Clock) -> Callable[[], None]:
    """Ends a worker whose job was started again elsewhere: its node had only seemed to be lost."""
    look_at = clock.monotonic() + FENCE_EVERY_S

    def check() -> None:
        nonlocal look_at
        if clock.monotonic() < look_at:
            return
        look_at = clock.monotonic() + FENCE_EVERY_S
        if is_taken_over(attempt, claimant):
            raise Interrupted("The job was started again on another node.")

    return check


def work_from_bucket(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
    """Run the attempt, or the check of a probe, with the secrets that the job definition has put
    into the environment."""
    request = read_check_request(attempt)
    if request is not None:
        found = check(request.engine, request.provider, request.host, request.port, os.environ)
        write_check_result(attempt, request.key, found)
        return
    from executor_agent import ExecutorAgent

    credentials = resolve_credentials(os.environ)
    ExecutorAgent(credentials, clock, contained=True, echo=echo).run(attempt, claimant)


def check(
    engine: str, provider: str, host: str, port: int, environ: Mapping[str, str]
) -> WorkerCheck:
    """Whether a worker could run on this node."""
    missing = _missing_package("boto3" if provider == "bedrock" else "anthropic")
    cli = "" if missing or engine != "claude-code" else _missing_cli(environ)
    return WorkerCheck(
        python=sys.version.split()[0],
        node=os.uname().nodename,
        missing_package=missing,
        missing_cli=cli,
        unreachable=_unreachable(host, port),
    )


def _missing_package(of_provider: str) -> str:
    try:
        for name in ("claude.sdk", of_provider, "executor_agent"):
            import_module(name)
    except ImportError as exc:
        return str(exc)
    return ""


def _missing_cli(environ: Mapping[str, str]) -> str:
    from claude.engines.cli_setup import find_cli

    found = find_cli(environ)
    return f"{found.what} {found.fix}" if isinstance(found, Problem) else ""


def _unreachable(host: str, port: int) -> str:
    """The address that refuses connections: the host, or the proxy that is set for it here."""
    if not host:
        return ""
    proxy = urlsplit(urllib.request.getproxies().get("https", ""))
    if proxy.hostname and not urllib.request.proxy_bypass(host):
        host, port = proxy.hostname, proxy.port or 80
    with suppress(OSError), socket.create_connection((host, port), timeout=10.0):
        return ""
    return f"{host}:{port}"


def main(argv: Sequence[str]) -> int:
    if argv[1:2] == ["--check"]:
        file, engine, provider, host, port = argv[2:]
        write_atomic(Path(file), encode(check(engine, provider, host, int(port), os.environ)))
        return 0
    if argv[1].startswith("s3://"):
        return run_s3_job(argv[1], os.environ, work_from_bucket)
    directory, number, claimant, *flags = argv[1:]
    batch, contained, taken = BatchDir(Path(directory)), flags == ["--contained"], []

    def run(clock: Clock) -> None:
        taken.append(work(batch, int(number), claimant, clock, contained=contained))

    code = run_worker(run, STOPS)
    if taken == [False]:
        report_error("Another worker already has the attempt.")
        return CLAIMED
    return code


if __name__ == "__main__":
    run_process(main)
