"""Text made safe to print, and numbers as people read them."""

import re
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence

from core.events import (
    CONTRACTS,
    EXISTING,
    CheckEnded,
    Proof,
    RepairBegun,
    RepairEnded,
    RunStarted,
    Suspect,
    Verified,
)
from core.simulation_notice import limitation_notice, simulation_notice

_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC and its like: titles, links, clipboard
    r"|\x1b.?",
    re.DOTALL,
)
# Reorder or hide what is around them (Unicode TR 36), but are printable to some terminals
_HIDDEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")

_ENDPOINT = re.compile(r"\S+ on (?:anthropic|bedrock)(?: in \S+)? \(\S*\)")
"""As claude.errors.endpoint writes it."""

WIDTH = 80
NAMED_REASONS = 4
"""How many reasons of a queue are named before the rest is only counted."""
MOST_FILES = 3
"""Files of a repair that are named."""
NO_REASON = "no reason given"


def without_sequences(text: str) -> str:
    return _SEQUENCES.sub("", text)


def text_width() -> int:
    """Columns for text that is wrapped: fewer on a narrow terminal, but not hopelessly few."""
    return max(40, min(WIDTH, shutil.get_terminal_size().columns))


def screen_width() -> int:
    """Columns for tables and for what is read at length."""
    return max(40, min(200, shutil.get_terminal_size().columns))


def screen_rows() -> int:
    return max(10, shutil.get_terminal_size().lines)


def clean(text: object, limit: int = 200) -> str:
    """One line of printable text without terminal sequences, at most `limit` characters."""
    # cut first: a text may be huge
    plain = _HIDDEN.sub("", without_sequences(str(text)[: 20 * limit]))
    plain = " ".join("".join(c for c in plain if c.isprintable() or c.isspace()).split())
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def cut_middle(text: str, limit: int) -> str:
    """At most `limit` characters of a path or a name, whose end tells most: a file's name stays
    whole where that is possible."""
    if len(text) <= limit:
        return text
    name = len(text) - text.rfind("/") if "/" in text else limit
    end = name if name < limit else limit * 2 // 3
    return f"{text[: limit - 1 - end]}…{text[len(text) - end :]}"


def printable_lines(text: str) -> list[str]:
    """The lines of a text as they are, but what would control a terminal, or hide or reorder what
    is around it, stands as its escape."""
    return [
        "".join(c if c.isprintable() else _escape(c) for c in line.expandtabs(4))
        for line in text.replace("\r\n", "\n").split("\n")
    ]


def _escape(char: str) -> str:
    return " " if char == "\xa0" else char.encode("unicode_escape").decode()


_LONGEST_S = 1e12  # damaged times may be infinite


def duration(seconds: float | None) -> str:
    """0:07, 12:34 or 1:02:03; "-" for None."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(min(max(0.0, seconds), _LONGEST_S)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def rough_duration(seconds: float) -> str:
    """40 s, 9 min, 2.5 h or 12 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds >= 172_800:
        return f"{min(seconds, _LONGEST_S) / 86_400:.0f} days"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"


def times_text(*seconds: float) -> list[str]:
    """Times to be compared, by the second where roughly they would be the same."""
    rough, exact = ([show(each) for each in seconds] for show in (rough_duration, duration))
    return exact if len(set(rough)) < len(set(exact)) else rough


def short_count(number: int) -> str:
    """950, 1.2k, 3.4M."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def plural(number: int, noun: str) -> str:
    """1 file, 2 files, 1,000 files."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def queue_text(waits: Iterable[tuple[object, int, bool]], limit: int = 60) -> str:
    """What queued jobs wait for: (reason, how many jobs, whether they cannot start as things
    stand), the worst and the most frequent first. A reason has `limit` characters at most."""
    ordered = sorted(waits, key=lambda wait: (not wait[2], -wait[1]))
    parts = [
        f"{number:,} {'cannot start' if stuck else 'queued'} ({clean(reason, limit) or NO_REASON})"
        for reason, number, stuck in ordered[:NAMED_REASONS]
    ]
    if rest := ordered[NAMED_REASONS:]:
        number = sum(number for _, number, _ in rest)
        parts.append(f"{number:,} for {plural(len(rest), 'other reason')}")
    return ", ".join(parts)


def simulation_lines(title: str, prompt: str, *, existing: bool = False) -> list[str]:
    """What a simulation delivers for the plan with this title, if there is one yet, and what it
    cannot do of the prompt, unless that is about `existing` code."""
    notice = simulation_notice(clean(title)) if title else ""
    lacks = "" if existing else limitation_notice(prompt)
    return [line for line in (notice, lacks) if line]


def wrapped(
    text: str, first: str, indent: int, *, cut: bool = True, width: int | None = None
) -> list[str]:
    """Lines of `width` columns, or of as many as the terminal has for text, the first after
    `first`; `cut` also cuts words that are longer."""
    return textwrap.wrap(
        text,
        width or text_width(),
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_long_words=cut,
        break_on_hyphens=False,
    )


def short_cost(amount: float, *, simulated: bool) -> str:
    """For a table: $0.12, or $0.12 sim where nothing is billed."""
    return f"${amount:,.2f}{' sim' if simulated else ''}"


def short_cause(text: str) -> str:
    """A message about a provider without its long name, so that the cause is not what is cut."""
    return _ENDPOINT.sub("Claude", text, count=1)


def silence_text(seconds: float) -> str:
    return f"no answer from Claude for {rough_duration(seconds)}"


def pace_text(speed: float | None, *, simulated: bool, real: str = "") -> str:
    """How the times of a simulation compare to life, and what they are there; empty for those of
    life. `speed` is simulated seconds a second; 0 or None, as a journal has it, for no waiting."""
    if not simulated:
        return ""
    pace = f"simulated at {speed:g}x" if speed else "simulated without waits"
    return f"{pace}; real: about {real}" if real and speed != 1.0 else pace


def time_text(shown: str, pace: str) -> str:
    """A time with its pace: `0:08 (simulated at 20x; real: about 2:35)`."""
    return f"{shown} ({pace})" if pace else shown


def models_text(header: RunStarted) -> str:
    """Which model did what, and with which effort where one was asked for."""
    executor = _model_text(header.model, header.effort)
    planner = _model_text(header.planner_model or header.model, header.planner_effort)
    return executor if planner == executor else f"{planner} plans, {executor} executes"


def _model_text(model: str, effort: str) -> str:
    return f"{clean(model)} (effort {clean(effort)})" if effort else clean(model)


def proof_text(checks: Iterable[CheckEnded], verified: Verified) -> str:
    """How many of the checks passed, and where they ran."""
    states = [check.state for check in checks if check.phase in ("check", "config")]
    counts = proof_counts(states)
    return f"{counts}, {place_text(verified.sandbox)}" if states else counts


def place_text(sandbox: str) -> str:
    """Where checks ran, by the name of the sandbox; `no sandbox` is one."""
    outside = sandbox.removeprefix("no sandbox")
    return f"in {sandbox}" if outside == sandbox else f"without a sandbox{outside}"


def suspicion_text(repair: RepairBegun) -> str:
    """What a round of repair is about."""
    named = _files_text(repair.suspects)
    return f"repair {repair.round}: {plural(len(repair.checks), 'check')} failed; suspects: {named}"


def repair_text(repair: RepairEnded) -> str:
    """What became of a round of repair."""
    if repair.rejected:
        return f"round {repair.round} was not kept: {clean(repair.rejected, 400)}"
    passing = f"{repair.passed:,} of {repair.total:,} checks pass now"
    return f"round {repair.round}: {_files_text(repair.changed)}; {passing}"


def _files_text(files: Sequence[Suspect]) -> str:
    """At most MOST_FILES of them with their tasks."""
    named = [f"{clean(path, 100)} ({_owner_text(owner)})" for path, owner in files[:MOST_FILES]]
    more = len(files) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _owner_text(owner: str) -> str:
    names = {CONTRACTS: "a contract", EXISTING: EXISTING}
    return names.get(owner) or f"task {clean(owner)}"


def proof_counts(states: Iterable[Proof]) -> str:
    """Such as `11 of 12 passed, 1 failed`."""
    counts = Counter(states)
    if not counts:
        return "none to run"
    rest = [f"{counts[s]:,} {s}" for s in (Proof.FAILED, Proof.NOT_PROVEN) if counts[s]]
    return ", ".join([f"{counts[Proof.PASSED]:,} of {counts.total():,} passed", *rest])
