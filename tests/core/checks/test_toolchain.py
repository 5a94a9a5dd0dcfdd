from pathlib import Path

import pytest

from core.checks.toolchain import link_python, programs_of


@pytest.mark.parametrize(
    ("tools", "programs"),
    [
        (["python 3.12"], ["python3"]),
        (["Node.js 20", "npm 10"], ["node", "npm"]),
        (["node@20", "go>=1.22", "Rust 1.80"], ["node", "go", "cargo"]),
        (["a browser", "", "SQLite 3"], []),
        (["python 3.11", "Python3"], ["python3"]),
    ],
)
def test_the_programs_of_tools_as_a_planner_names_them(
    tools: list[str], programs: list[str]
) -> None:
    assert programs_of(tools) == programs


def test_python_is_there_under_both_names(tmp_path: Path) -> None:
    link_python(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"python", "python3"}
    assert all(p.resolve().exists() for p in tmp_path.iterdir())
