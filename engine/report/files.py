"""The delivered tree with the origin of each file, and its content."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from core.bundle import read_unchecked_result
from core.errors import BundleError
from core.job import JobKey, Manifest, ManifestEntry
from core.plan import Plan
from core.workspace.confined import open_regular, read_regular
from engine.delivery.merge import MergedFile, MergeSource, plan_merge
from engine.repository.history import without_history
from engine.run.run_view import RunView
from engine.run.rundir import RunDir, known_deliveries

CONTRACTS, UNKNOWN = "contracts", "unknown"
LONGEST_CHARS = 60_000
"""Of one file's content."""
_LONGEST_BYTES = 4 * LONGEST_CHARS
_MOST_BYTES = 8 * 1024 * 1024
"""What is longer is not even looked at."""

Results = dict[JobKey, Manifest | None]
"""What attempts that succeeded have left, as far as it was read before; None where it cannot be."""


def run_files(run: RunDir, run_view: RunView, plan: Plan, results: Results) -> list[MergedFile]:
    """What was delivered, or would be as things stand, ordered by path. Adds to `results`."""
    planned = [MergeSource(CONTRACTS, run.contracts, _contracts_manifest(plan))]
    planned += _sources(run, run_view, [task.id for task in plan.tasks], results)
    if run_view.delivered_files is None or (manifest := _delivered(run)) is None:
        return list(plan_merge(planned).files)
    added = _sources(run, run_view, run_view.tasks.added, results)
    return _with_origin(manifest, [*planned, *added])


def _contracts_manifest(plan: Plan) -> Manifest:
    files = ((contract.path, contract.content.encode()) for contract in plan.contracts)
    entries = (ManifestEntry(p, len(d), sha256(d).hexdigest(), 0o644) for p, d in files)
    return Manifest(tuple(entries))


def _sources(
    run: RunDir, run_view: RunView, tasks: Sequence[str] | Mapping[str, object], results: Results
) -> Iterator[MergeSource]:
    for task in tasks:
        if (attempt := run_view.jobs.succeeded.get(task)) is None:
            continue
        key = JobKey(run_view.run_id, task, attempt)
        if key not in results:
            results[key] = _manifest(run, key)
        if (manifest := results[key]) is not None:
            yield MergeSource(task, run.attempt(key).files, manifest)


def _manifest(run: RunDir, key: JobKey) -> Manifest | None:
    try:
        return read_unchecked_result(run.attempt(key), key).manifest
    except (BundleError, OSError, ValueError):
        return None


def _delivered(run: RunDir) -> Manifest | None:
    try:
        return next(map(without_history, known_deliveries(run)[::-1]), None)
    except (BundleError, OSError):
        return None


def _with_origin(delivered: Manifest, sources: Sequence[MergeSource]) -> list[MergedFile]:
    """Each file with the first source that has it as it was delivered."""
    known: dict[tuple[str, str], MergedFile] = {}
    for source in sources:
        for entry in source.manifest.entries:
            file = MergedFile(entry.path, source.owner, source.root / entry.path, entry)
            known.setdefault((entry.path, entry.sha256), file)
            known.setdefault(("", entry.sha256), file)
    nowhere = Path()
    found = []
    for entry in delivered.entries:
        origin = known.get((entry.path, entry.sha256)) or known.get(("", entry.sha256))
        owner, place = (origin.owner, origin.source) if origin else (UNKNOWN, nowhere)
        found.append(MergedFile(entry.path, owner, place, entry))
    return sorted(found, key=lambda file: file.path)


def file_content(file: MergedFile) -> dict[str, str]:
    """`text`, cut where it is too long, with a `note` on what is not shown as it is."""
    if file.entry.size > _MOST_BYTES:
        return {"text": "", "note": f"It is too large to be shown. It is at {file.source}."}
    try:
        data = read_regular(file.source, file.entry.size)
    except (OSError, ValueError):
        return {"text": "", "note": "The run directory has no such file any more."}
    if sha256(data).hexdigest() != file.entry.sha256:
        return {"text": "", "note": "The file in the run directory is another by now."}
    text = data[:_LONGEST_BYTES].decode(errors="replace")
    if "\0" in text or text.count("\ufffd") > 1:  # one may be where it was cut
        return {"text": "", "note": f"This is no text. It is at {file.source}."}
    if len(text) > LONGEST_CHARS or len(data) > _LONGEST_BYTES:
        return {"text": text[:LONGEST_CHARS], "note": f"The rest is left out: see {file.source}."}
    return {"text": text, "note": ""}


def contents(files: Sequence[MergedFile], room: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Of each file by path, `room` characters altogether; small ones first, since more fit."""
    for file in sorted(files, key=lambda file: file.entry.size):
        if min(file.entry.size, LONGEST_CHARS) > room:
            note = f"Left out of the report, which would be too large: see {file.source}."
            yield file.path, {"text": "", "note": note}
            continue
        content = file_content(file)
        room -= len(content["text"])
        yield file.path, content


def tail(path: Path, limit: int) -> str:
    """The last characters of a text file; empty where there is none."""
    try:
        with open(open_regular(path), "rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - 4 * limit))
            return stream.read().decode(errors="replace")[-limit:]
    except (OSError, ValueError):
        return ""
