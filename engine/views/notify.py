"""--notify: a command of the person that is run when a run has ended. It never fails the run."""

import subprocess
from collections.abc import Callable, Mapping

from engine.run.run_view import RunView
from engine.views.format import clean
from engine.views.summary import render_outcome

LIMIT_S = 30.0


def notify(
    command: str,
    run_view: RunView,
    environ: Mapping[str, str],
    warn: Callable[[str], None],
    limit_s: float = LIMIT_S,
) -> None:
    """Run `command` in a shell, with how the run ended in its environment. What it prints goes to
    standard error."""
    try:
        done = subprocess.run(  # noqa: S603 - the person's own command, as they wrote it
            ["/bin/sh", "-c", command],
            env={**environ, **describe_end(run_view)},
            stdin=subprocess.DEVNULL,
            stdout=2,
            timeout=limit_s,
            check=False,
        )
        problem = f"it ended with exit code {done.returncode}" if done.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"it took longer than {limit_s:g} s, and was stopped"
    except KeyboardInterrupt:
        problem = "it was interrupted"
    except (OSError, ValueError) as exc:
        problem = str(exc)
    if problem:
        warn(f"warning: --notify {clean(command)}: {clean(problem)}.")


def describe_end(run_view: RunView) -> dict[str, str]:
    """The variables that the command gets; texts are on one line and clean."""
    header, ended = run_view.header, run_view.ended
    done, planned = run_view.tasks.done_of_plan()
    return {
        "RUN_ID": clean(run_view.run_id),
        "RUN_OUTCOME": clean(run_view.state),
        "RUN_EXIT_CODE": str(ended.exit_code if ended else ""),
        "RUN_SUMMARY": clean(render_outcome(run_view), 1_000),
        "RUN_REASON": clean(ended.message if ended else "", 1_000),
        "RUN_TITLE": clean(run_view.title or header.prompt),
        "RUN_TARGET": clean(header.target, 4_096),
        "RUN_DIR": clean(header.run_dir, 4_096),
        "RUN_TASKS": str(planned),
        "RUN_TASKS_DONE": str(done),
        "RUN_COST_USD": f"{run_view.spend().cost_usd:.4f}",
        "RUN_SIMULATED": "true" if header.simulated else "false",
    }
