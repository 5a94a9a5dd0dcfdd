"""What a worker that ended without a result has printed, as one line for people."""

MOST_CHARS = 600
_OWN = "error: "
"""How the last words of a worker begin (core.worker.process)."""


def cause_first(output: str) -> str:
    """The last words first, since what comes after them may be cut: the worker's own, or else the
    last line. Indented lines, those of a traceback, are left out."""
    lines = [line.rstrip(" .\r") for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if not line[0].isspace() and not line.startswith("Traceback ")]
    own = [line for line in lines if line.startswith(_OWN)]
    last = (own or lines or [""])[-1]
    rest = [line for line in dict.fromkeys(lines) if line != last]
    return "; ".join(filter(None, (last.removeprefix(_OWN), *rest)))[:MOST_CHARS]
