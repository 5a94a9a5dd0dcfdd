from pathlib import Path

import pytest

from core.checks.toolchain import installed_programs, link_python, programs_of, render_tools


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


def test_installed_programs_are_told_with_the_versions_of_toolchains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "go": "go version go1.22.3 linux/amd64",
        "node": "v24.1.0",
        "npm": "11",
    }.items():
        tmp_path.joinpath(name).write_text(f"#!/bin/sh\necho '{text}'\n")
        tmp_path.joinpath(name).chmod(0o755)
    tmp_path.joinpath("ruby").write_text("#!/bin/sh\nexit 1\n")
    tmp_path.joinpath("ruby").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = installed_programs()
    assert found == {"go": "1.22", "node": "24.1", "npm": "", "ruby": ""}
    absent = "not: python, git, c, elixir, java, make, php, rust"
    assert render_tools(found) == f"node 24.1, go 1.22, ruby; {absent}"
