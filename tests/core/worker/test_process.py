"""Tests for core.worker.process: credentials in, signals, exit codes and last words."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.clock import StoppableClock
from core.credentials import Credentials
from core.errors import BundleError, Interrupted
from core.worker.exit_codes import FAILED, STOPPED
from core.worker.process import (
    CREDENTIALS_FILE,
    claimant,
    echo,
    read_credentials,
    render_credentials,
    run_worker,
    stopped_by_signal,
    take_credentials,
)

ROOT = Path(__file__).parents[3]
HELD = Credentials(anthropic_api_key="sk-ant-canary", aws_session_token='a"b\\c\u2028')


def test_credentials_arrive_and_are_gone(tmp_path: Path) -> None:
    (tmp_path / CREDENTIALS_FILE).write_bytes(render_credentials(HELD))
    assert take_credentials(tmp_path) == HELD
    assert list(tmp_path.iterdir()) == []
    assert take_credentials(tmp_path) == Credentials()


def test_credentials_that_cannot_be_read_are_gone_all_the_same(tmp_path: Path) -> None:
    (tmp_path / CREDENTIALS_FILE).write_bytes(b'{"anthropic_api_key": ["sk-ant-canary"]}')
    with pytest.raises(BundleError) as told:
        take_credentials(tmp_path)
    assert "sk-ant-canary" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_the_place_of_credentials_is_reported(tmp_path: Path) -> None:
    (tmp_path / CREDENTIALS_FILE).mkdir()
    with pytest.raises(BundleError, match="cannot be read and removed"):
        take_credentials(tmp_path)


def test_work_that_comes_to_its_end_is_a_success() -> None:
    assert run_worker(lambda clock: None) == 0


def test_an_error_of_ours_is_reported_with_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: StoppableClock) -> None:
        raise BundleError("The bundle is torn.", "Send it again.")

    assert run_worker(work) == FAILED
    assert capsys.readouterr().err == "error: The bundle is torn. Send it again.\n"


def test_any_other_error_is_reported_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: StoppableClock) -> None:
        raise ZeroDivisionError("by nought")

    assert run_worker(work) == FAILED
    assert capsys.readouterr().err == "error: ZeroDivisionError: by nought\n"


def test_sigterm_stops_the_clock_and_nothing_else() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stopped_by_signal() as clock:
        clock.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            clock.sleep(60)
    assert signal.getsignal(signal.SIGTERM) is before


def test_of_two_signals_the_first_one_counts() -> None:
    stops = {signal.SIGUSR1: "It is late.", signal.SIGTERM: "It is unwanted."}
    with stopped_by_signal(stops) as clock:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="It is late"):
            clock.sleep(60)


def test_credentials_that_others_need_too_stay(tmp_path: Path) -> None:
    path = tmp_path / CREDENTIALS_FILE
    assert read_credentials(path) == Credentials()
    path.write_bytes(render_credentials(HELD))
    assert read_credentials(path) == read_credentials(path) == HELD
    path.unlink()
    path.mkdir()
    with pytest.raises(BundleError, match="cannot be read"):
        read_credentials(path)


def test_work_that_was_stopped_and_left_a_result_ends_with_its_own_code() -> None:
    def work(clock: StoppableClock) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            clock.sleep(60)

    assert run_worker(work) == STOPPED


def test_a_process_asked_to_stop_in_a_sleep_stops_at_once(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from core.errors import Interrupted\n"
        "from core.worker.process import echo, run_process, run_worker\n"
        "def work(clock):\n"
        "    echo('begun')\n"
        "    try:\n"
        "        clock.sleep(60)\n"
        "    except Interrupted:\n"
        "        sys.stdout.write('saved\\n')\n"
        "run_process(lambda argv: run_worker(work))\n"
    )
    begun = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n", "each line is there at once"
        process.terminate()
        assert process.wait(30) == STOPPED
        assert process.stdout.read() == "saved\n"
    assert time.monotonic() - begun < 30


def test_an_echo_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    echo("one")
    assert capsys.readouterr().out == "one\n"


def test_a_claimant_is_this_process_on_this_machine() -> None:
    assert claimant() == f"{os.uname().nodename}:{os.getpid()}"


def test_rendered_credentials_are_for_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / CREDENTIALS_FILE
    path.touch(mode=0o600)
    path.write_bytes(render_credentials(HELD))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert take_credentials(tmp_path) == HELD
