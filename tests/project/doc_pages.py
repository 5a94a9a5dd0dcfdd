"""The pages of the documentation, and what is written in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
PAGES = [page for page in PAGES if page.exists()]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the table below the heading that begins with `heading`, without its head."""
    section = re.split(r"^#+ ", page.read_text(encoding="utf-8"), flags=re.M)
    [text] = [part for part in section if part.startswith(f"{heading}\n")]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def tables(page: Path) -> list[list[str]]:
    """The cells of every table of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return [line.strip("|").split("|") for line in lines if line.startswith("|")]


def example_lines(page: Path) -> Iterator[str]:
    """The lines of shell examples that call the program, without what is typed around them."""
    for text in blocks(page, "sh") + blocks(page, "console"):
        for line in text.replace("\\\n", " ").splitlines():
            called = re.search(r"(?:python3 orchestrator\.py|\bparallel-orchestrator)\s+(.*)", line)
            if called:
                yield called[1]
