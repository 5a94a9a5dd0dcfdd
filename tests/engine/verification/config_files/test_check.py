"""Files that describe how a project runs, with and without faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.bundle import build_manifest
from core.events import CheckEnded, Proof
from core.paths import EVERYTHING
from core.plan import Plan, Task
from engine.delivery.merge import MergeSource, plan_merge
from engine.verification.config_files.check import DATA, check_config_files

OTHERS = {"api/Dockerfile": "FROM scratch\n", "app/cli.py": "def main(): ...\n", "src/x.js": ""}
COMPOSE = """
services:
  api: {{image: a, {}}}
  db:
    image: postgres
volumes: {{data: }}
"""
BROKEN_URL = """
services:
  api:
    build: ./api
    environment:
      DATABASE_URL: "postgresql://app:app@db:5432/
        app"
"""
BLOCK_URL = BROKEN_URL.replace('"postgresql', "|\n        postgresql").replace('app"', "app")


def check(place: Path, files: dict[str, str]) -> dict[str, CheckEnded]:
    """By what was checked, without OTHERS."""
    for path, text in {**OTHERS, **files}.items():
        place.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        place.joinpath(path).write_text(text)
    merged = plan_merge([MergeSource("a", place, build_manifest(place))])
    plan = Plan(tasks=(Task(id="a", instructions="Do it.", owns=(EVERYTHING,)),))
    return {e.command: e for e in check_config_files(merged, plan) if e.command not in OTHERS}


def faults(place: Path, path: str, text: str) -> str:
    """Of one file, as one text; "passed" where it has none."""
    (ended,) = check(place, {path: text}).values()
    assert ended.phase == "config"
    assert ended.tasks == ("a",) or (ended.command == DATA and ended.state is Proof.PASSED)
    assert (ended.state is Proof.FAILED) == bool(ended.reason)
    return f"{ended.reason}\n{ended.output}".strip() or "passed"


@pytest.mark.parametrize(
    ("inside", "fault"),
    [
        ("environment: {A: 'http://x:8000', B: plain}", ""),
        ("environment: [A=http://x:8000/a b]", "a space inside"),
        ("environment: {ORIGINS: 'http://a, http://b:3000'}", ""),
        ("environment: {A: 'http://a:99999'}", "Port out of range"),
        ("environment: {A: 'http://a:${PORT:-70000}'}", "Port out of range"),
        ("environment: {A: 'http://a:${PORT}/$$x'}", ""),
        ("environment: {A: 'http://<host>:<port>'}", ""),
        ("environment: {A: 'mongodb://a:1,b:2/x', B: 'sqlite:///x.db'}", ""),
        (
            "ports: ['8000:80', '127.0.0.1:5432:5432/tcp', '3000-3005:3000-3005', 80, '[::1]:1:2']",
            "",
        ),
        ("ports: ['${PORT:-8000}:80', {target: 80}]", ""),
        ("ports: ['80000:80']", "ports go from 1 to 65,535"),
        ("ports: ['8000:http']", "'8000:http' is no port"),
        ("depends_on: [db]", ""),
        ("depends_on: {database: {condition: service_started}}", "names database, which is no"),
        ("build: ./api", ""),
        ("build: {context: ., dockerfile: api/Dockerfile}", ""),
        ("build: {context: ., dockerfile: Dockerfile}", "build: ./Dockerfile is not in the"),
        ("build: ./web", "./web is no directory"),
        ("build: 'https://github.com/a/b.git'", ""),
        ("env_file: [app.cfg]", "env_file: app.cfg is not in the project"),
        ("env_file: .env", ""),
        ("env_file: [{path: x, required: false}]", ""),
        ("volumes: ['data:/var/lib', './made:/data', './src/x.js:/x.js:ro']", ""),
        ("volumes: ['./nginx.conf:/etc/nginx/nginx.conf']", "./nginx.conf is not in the"),
    ],
)
def test_values_and_names_in_a_compose_file(tmp_path: Path, inside: str, fault: str) -> None:
    found = faults(tmp_path, "docker-compose.yml", COMPOSE.format(inside))
    assert fault in found if fault else found == "passed"


@pytest.mark.parametrize("text", [BROKEN_URL, BLOCK_URL])
def test_a_line_break_inside_a_url_is_found(tmp_path: Path, text: str) -> None:
    found = faults(tmp_path, "docker-compose.yml", text)
    assert found.startswith("api: DATABASE_URL: 'postgresql://app:app@db:5432/")
    assert " inside" in found


def test_what_is_merged_counts_and_what_merges_without_end_ends(tmp_path: Path) -> None:
    text = "x: &x {environment: {A: 'http://a b'}}\nservices: {api: {<<: *x, image: a}}\n"
    assert "a space inside" in faults(tmp_path, "compose.yaml", text)
    bomb = "\n".join(
        f"x{n}: &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * 9) if n else '{a: b}'}]}}"
        for n in range(30)
    )
    text = f"{bomb}\nservices: {{api: {{<<: *x29, image: a}}}}\n"
    assert faults(tmp_path, "compose.yaml", text) == "passed"


def test_a_file_that_adds_to_a_compose_file_knows_its_services(tmp_path: Path) -> None:
    more = "services: {api: {depends_on: [db]}}\n"
    found = check(tmp_path, {"compose.yaml": COMPOSE.format(""), "compose.override.yaml": more})
    assert [ended.reason for ended in found.values()] == ["", ""]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("FROM a\nCOPY src/*.js app/ /x/\nRUN a \\\n  # why\n  && b\n", ""),
        ("# syntax=x\nARG A=1\nFROM a:$A AS b\nCOPY --from=b /x /y\nCOPY . .\nEXPOSE 80/tcp\n", ""),
        ("FROM a\nRUN <<EOF\nNONSENSE\nEOF\nCOPY dist package-lock.json ./\nADD http://x /\n", ""),
        ("FROM a\nCOPY requirements.txt ./\n", "line 2: requirements.txt is not in the project"),
        ('FROM a\nCOPY ["web dir", "./"]\n', "line 2: web dir is not in the project"),
        ("FROM a\nCOPPY . .\n", "line 2: COPPY is no instruction"),
        ("FROM a\nEXPOSE 80000\n", "line 2: 80000 is no port"),
        ("RUN a\nFROM a\n", "line 1: RUN stands before FROM"),
        ("", "it has no FROM"),
    ],
)
def test_instructions_and_sources_in_a_dockerfile(tmp_path: Path, text: str, fault: str) -> None:
    assert faults(tmp_path, "Dockerfile", text) == (fault or "passed")


def test_a_dockerfile_copies_from_the_directory_that_it_is_built_in(tmp_path: Path) -> None:
    compose = "services: {a: {build: {context: app, dockerfile: ../deploy/Dockerfile}}}\n"
    text = "FROM a\nCOPY cli.py ./\n"
    files = {"compose.yaml": compose, "deploy/Dockerfile": text}
    assert [e.reason for e in check(tmp_path, files).values()] == ["", ""]
    assert "cli.py is not" in faults(tmp_path / "alone", "deploy/Dockerfile", text)


UNIT = "[Unit]\nDescription=a\n\n[Service]\n# why\nExecStart=/opt/a \\\n  --port 80\n"


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("app.service", UNIT, ""),
        ("app@.service", UNIT + "Environment='A=http://a:1' PORT=80\nUser=%i\n", ""),
        ("app.service", UNIT + "Environment=A=http://a:x\n", "line 8: A: 'http://a:x' is no URL"),
        ("app.service", UNIT + "Environment='A\n", "line 8: a quote is not closed"),
        ("app.service", UNIT.replace("ExecStart=", "Exec="), "it has no ExecStart in [Service]"),
        ("app.service", UNIT.replace("[Service]", "[service]"), "it has no ExecStart in [Service]"),
        ("app.service", UNIT + "Restart always\n", "line 8: Restart always is no Key=value"),
        ("app.service", "A=b\n" + UNIT, "line 1: A=b is no section"),
        ("app.service", "<service-group/>\n", ""),
        ("app.timer", "[Timer]\nOnCalendar=daily\n", ""),
        ("app.timer", "[Timer]\nPersistent=true\n", "it has no On... in [Timer]"),
        ("app.socket", "[Socket]\nListenStream=80\n", ""),
    ],
)
def test_units_of_systemd(tmp_path: Path, path: str, text: str, fault: str) -> None:
    found = faults(tmp_path, path, text)
    assert fault in found if fault else found == "passed"


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        (".env.example", "# why\nexport A=1\n\nURL='http://a:1' # x\nKEY=\"a\nb\"\n", ""),
        (".env.example", "A=1\nB 2\n", "line 2 is no KEY=VALUE"),
        (".env.example", "A='1\n", "line 1: the quote is not closed"),
        (".env.example", "URL=http://a:x\n", "URL: 'http://a:x' is no URL"),
        (".env.example", "URL=http://a:<port>\n", ""),
        (".env.example", "PORT=8000\nA_PORT=0\nB_PORT=${X}\nSERIAL_PORT=/dev/x\n", ""),
        (".env.example", "DB_PORT=80000\n", "DB_PORT: '80000': ports go from 1 to 65,535"),
        (".env.example", "PORT=8000x\n", "PORT: '8000x' is no port"),
        ("package.json", '{"scripts": {"start": "node src/x.js && npm run b", "b": "tsc"}}', ""),
        ("package.json", '{"scripts": {"start": "node dist/x.js"}, "bin": "./src/x.js"}', ""),
        ("package.json", '{"scripts": {"a": "node y.js"}}', "scripts.a: y.js is not in"),
        ("package.json", '{"scripts": {"a": "npm run b"}}', "scripts.a: there is no script b"),
        ("package.json", '{"bin": {"x": "cli.js"}}', "bin: cli.js is not in the project"),
        ("package.json", '{"name": "a",}', "no valid JSON: line 1"),
        ("package.json", "[]", "it is no object"),
        ("pyproject.toml", '[project.scripts]\na = "app.cli:main"\n', ""),
        (
            "pyproject.toml",
            '[project.scripts]\na = "app.cli:run"\n',
            "scripts.a: app.cli has no run",
        ),
        ("pyproject.toml", '[project.scripts]\na = "web:run"\n', "the module web is not in"),
        ("pyproject.toml", "[project\n", "no valid TOML: line 1"),
        (".github/workflows/ci.yml", "on: push\njobs: {a: {steps: [{run: x}]}, b: {uses: y}}", ""),
        (".github/workflows/ci.yml", "on: push\njobs: {a: {runs-on: x}}", "the job a has no steps"),
        (".github/workflows/ci.yml", "jobs: {a: {steps: [{name: x}]}}", "step 1 does nothing"),
        (".github/workflows/ci.yml", "on: push\njobs: [", "no valid YAML"),
    ],
)
def test_other_files_that_are_told_of(tmp_path: Path, path: str, text: str, fault: str) -> None:
    found = faults(tmp_path, path, text)
    assert fault in found if fault else found == "passed"


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("data/a.json", "{}", ""),
        ("data/a.json", "{", "data/a.json: no valid JSON"),
        ("a.yaml", "a: [!Ref b]\n---\nb: c\n", ""),
        ("a.yaml", "a: b: c", "no valid YAML"),
        ("chart/a.yaml", "a: {{ .Values.a }}: {% x %}", ""),
        ("tsconfig.json", "{/* why */}", ""),
        ("a.yaml", "[" * 900 + "]" * 900, ""),
    ],
)
def test_data_has_to_be_readable(tmp_path: Path, path: str, text: str, fault: str) -> None:
    found = faults(tmp_path, path, text)
    assert fault in found if fault else found == "passed"


def test_all_data_is_one_check_and_what_tests_break_on_purpose_is_none(tmp_path: Path) -> None:
    found = check(tmp_path, {"a.json": "{", "b.yaml": "a: b", "c.toml": "x", "tests/d.json": "{"})
    assert list(found) == [DATA]
    assert found[DATA].reason == "2 of 3 cannot be read"
    assert [line.partition(":")[0] for line in found[DATA].output.split("\n")] == [
        "a.json",
        "c.toml",
    ]
