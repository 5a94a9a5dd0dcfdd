"""Merges with what has to come of them, as tests/engine/merging/corpus shows them: a file's path
and the outcome (with a place that both changed), then its versions in the order of the plan."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.merging.merge import FileMerge, merge_versions

_CASE = re.compile(r"^## (.+)\n\n(.+): (.+)\n((?:\n|~~~ [\s\S]*?^~~~\n)+)", re.MULTILINE)
_BLOCK = re.compile(r"^~~~ (.+)\n([\s\S]*?)^~~~\n", re.MULTILINE)
_DELETED = " deleted"
_CLEAN = ("same", "one side", "lines", "list", "structure")


@dataclass(frozen=True)
class Case:
    path: str
    outcome: str
    blocks: dict[str, str | None]

    @property
    def base(self) -> bytes | None:
        return encoded(self.blocks.get("base"))

    @property
    def versions(self) -> list[tuple[str, bytes | None]]:
        told = ("base", "expected", "content", "conflict")
        return [(name, encoded(text)) for name, text in self.blocks.items() if name not in told]


def encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def read_corpus() -> Iterator[tuple[str, Case]]:
    for page in sorted((Path(__file__).parent / "corpus").glob("*.md")):
        for title, path, outcome, text in _CASE.findall(page.read_text(encoding="utf-8")):
            found = _BLOCK.findall(text)
            gone = {name: None for name, _ in found if name.endswith(_DELETED)}
            blocks = {name.removesuffix(_DELETED): gone.get(name, text) for name, text in found}
            yield f"{page.stem}: {title}", Case(path, outcome, blocks)


CORPUS = dict(read_corpus())
CONFLICTS = [name for name, case in CORPUS.items() if case.outcome not in _CLEAN]


def merged(case: Case) -> FileMerge:
    return merge_versions(case.path, case.base, case.versions)


def words(text: str) -> list[str]:
    return re.findall(r"[\w.@/-]+", text)


def outcome(merge: FileMerge) -> str:
    return " ".join([merge.how, *merge.places])


def test_no_case_is_passed_over() -> None:
    pages = (Path(__file__).parent / "corpus").glob("*.md")
    titles = sum(page.read_text(encoding="utf-8").count("\n## ") for page in pages)
    inside = sum((text or "").count("\n## ") for c in CORPUS.values() for text in c.blocks.values())
    assert (len(CORPUS), len(CORPUS) >= 60, len(CONFLICTS) >= 20) == (titles - inside, True, True)


@pytest.mark.parametrize("name", CORPUS)
def test_a_merge_comes_out_as_its_page_says(name: str) -> None:
    case = CORPUS[name]
    found = merged(case)
    assert outcome(found) == case.outcome
    if name in CONFLICTS:
        assert "".join(found.conflicts)
        if (text := case.blocks.get("conflict")) is not None:
            assert "".join(found.conflicts).rstrip("\n") == text.rstrip("\n")
    else:
        assert (found.conflicts, found.content) == ((), encoded(case.blocks.get("expected")))


@pytest.mark.parametrize("name", CONFLICTS)
def test_what_conflicts_is_left_out_whole_and_named(name: str) -> None:
    case = CORPUS[name]
    found = merged(case)
    kept = [version for label, version in case.versions if label not in found.left_out]
    if "content" in case.blocks:
        assert found.content == encoded(case.blocks["content"])
    else:
        assert found.content in kept
    assert found.left_out
    assert all(label in "".join(found.conflicts) for label in found.left_out)
    assert all(hunk.encode() in found.marked for hunk in found.conflicts if found.marked)


@pytest.mark.parametrize("name", [n for n, c in CORPUS.items() if len(c.versions) == 2])
def test_the_other_order_has_the_same_kind_of_outcome(name: str) -> None:
    case = CORPUS[name]
    found = merge_versions(case.path, case.base, case.versions[::-1])
    assert outcome(found) == case.outcome
    if found.content and not found.conflicts:
        expected = case.blocks["expected"] or ""
        assert sorted(words(found.content.decode())) == sorted(words(expected))
