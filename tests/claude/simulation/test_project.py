"""The projects that the simulated Claude designs: their plans hold, and their programs work."""

from __future__ import annotations

import ast
import builtins
import configparser
import hashlib
import json
import keyword
import os
import shutil
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude.simulation import vocabulary
from claude.simulation.blueprint import build_blueprint
from claude.simulation.lexicon import read_prompt
from claude.simulation.project import SimulatedProject, design_project, write_unplanned
from claude.simulation.source import import_block, join_short
from core.paths import is_owned, path_defect
from core.plan import ancestors, plan_defects, render_brief

ROOT = Path(__file__).resolve().parents[3]
TODO = "Build a todo list app with add/delete/complete"
BLOG = "Build a full-stack blog with posts, comments and users"
SHOP = "Build an e-commerce platform with product catalog, cart, checkout"
BOOKS = "Create a REST API for managing books with create, update, search and delete"
LANDING = "Build a landing page with contact form"
HOSTILE = """</request>"'\\$ ${x} {y} %s `rm` <script> ../../etc/passwd \U0001f600\x00
import os; todo "\"\"\" app"""
WORST = (
    "Build a contacts, appointments and request tracker with pages, exceptions, update, find, "
    "remove, abcdefghijkl, import, return, serve and unlock"
)
APPS = [
    (TODO, 0),
    (BLOG + " with search, update and reopen, close", 1),
    (SHOP + ". search and update products, pay and ship orders", 2),
    (LANDING + " and blog posts", 3),
    (WORST, 4),
]
SMALL = [
    "Write a hello world script",
    "a function that reverses a string",
    "a script to track movies: add, rename, search, delete, archive and unarchive",
    "script for classes",
    "a function that tells palindromes",
    "fibonacci function",
    "a script for factorials",
    "a function is_prime for primes",
    "fizzbuzz script",
    "a function counting vowels",
    "leap year function",
    "a script from celsius to fahrenheit",
    "a function for roman numerals",
    "greeting function",
    "a function to count words",
]
EXAMPLES = [*APPS, (LANDING, 0), (BOOKS, 0), ("Build platform", 0), (HOSTILE, 0)]


def contents(project: SimulatedProject) -> dict[str, str]:
    files = {c.path: c.content for c in project.plan.contracts}
    for task in project.files.values():
        files |= task
    return files


def write(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def run(root: Path, *arguments: str, code: int = 0) -> str:
    """Run the project's Python from outside; what it says on the stream that matters."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done.stderr if code else done.stdout


def compile_strictly(path: str, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile(text, path, "exec")


@contextmanager
def serving(root: Path, package: str, *options: str) -> Iterator[str]:
    """The address of the project's own server on a free port."""
    with subprocess.Popen(
        [sys.executable, "-m", package, *options, "serve", "--port", "0"],
        cwd=root,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split()[-1].rstrip("/")
        finally:
            server.terminate()


def ask(method: str, address: str, body: Any = None, form: bool = False) -> tuple[int, str]:
    data = urlencode(body) if form else json.dumps(body)
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    request = urllib.request.Request(
        address,
        None if body is None else data.encode(),
        {"Content-Type": kind},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


# Plans


@pytest.mark.parametrize(("prompt", "seed"), EXAMPLES)
def test_an_application_has_4_to_12_tasks_of_which_several_start_at_once(
    prompt: str, seed: int
) -> None:
    plan = design_project(prompt, seed).plan
    assert plan_defects(plan) == []
    assert 4 <= len(plan.tasks) <= 12
    assert sum(not t.depends_on for t in plan.tasks) >= 3
    assert plan.analysis.parallel_pays
    assert plan.analysis.recommended_executors >= 3
    assert any(entry.endswith("/") for t in plan.tasks for entry in t.owns)


@pytest.mark.parametrize("prompt", SMALL)
def test_a_small_job_is_one_task_with_an_honest_score(prompt: str) -> None:
    plan = design_project(prompt, 0).plan
    assert plan_defects(plan) == []
    assert len(plan.tasks) == 1
    assert plan.analysis.complexity <= 2
    assert not plan.analysis.parallel_pays
    assert plan.analysis.recommended_executors == 1


def test_a_bigger_job_scores_higher() -> None:
    scores = [design_project(p, 0).plan.analysis.complexity for p in ("hello world", TODO, BLOG)]
    assert scores == sorted(set(scores))


@pytest.mark.parametrize(("prompt", "seed"), EXAMPLES)
def test_files_are_exactly_what_each_task_owns(prompt: str, seed: int) -> None:
    project = design_project(prompt, seed)
    assert set(project.files) == {t.id for t in project.plan.tasks}
    for task in project.plan.tasks:
        paths = tuple(project.files[task.id])
        assert all(is_owned(task.owns, path) for path in paths)
        for entry in task.owns:
            assert any(is_owned((entry,), path) for path in paths), entry


@pytest.mark.parametrize(("prompt", "seed"), EXAMPLES)
def test_estimates_follow_the_length_of_the_files(prompt: str, seed: int) -> None:
    project = design_project(prompt, seed)
    for task in project.plan.tasks:
        characters = sum(map(len, project.files[task.id].values()))
        assert 3 <= characters / task.estimate <= 5


@pytest.mark.parametrize(("prompt", "seed"), EXAMPLES)
def test_the_contract_is_imported_by_the_code_of_the_tasks(prompt: str, seed: int) -> None:
    project = design_project(prompt, seed)
    contract = next(c for c in project.plan.contracts if c.path.endswith("contract.py"))
    module = contract.path.removesuffix(".py").replace("/", ".")
    users = [
        task_id
        for task_id, files in project.files.items()
        if any(f"from {module} import" in text for text in files.values())
    ]
    assert len(users) >= 5


@pytest.mark.parametrize(("prompt", "seed"), [(TODO, 1), (SHOP, 0)])
def test_each_task_passes_its_checks_with_the_files_of_its_ancestors_alone(
    prompt: str, seed: int, tmp_path: Path
) -> None:
    project = design_project(prompt, seed)
    before = ancestors(project.plan)
    for task in project.plan.tasks:
        files = {c.path: c.content for c in project.plan.contracts}
        for name in (*before[task.id], task.id):
            files |= project.files[name]
        root = write(tmp_path / task.id, files)
        for check in task.checks:
            done = subprocess.run(
                check.replace("python3", sys.executable),
                shell=True,
                cwd=root,
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
            assert done.returncode == 0, f"{task.id}: {check}\n{done.stderr}"


def test_the_text_of_a_prompt_reaches_no_plan_and_no_code() -> None:
    project = design_project(HOSTILE, 0)
    assert "passwd" not in project.plan.model_dump_json() + render_brief(project.plan)
    said = {path for path, text in contents(project).items() if "passwd" in text}
    assert said == {"README.md"}
    readme = contents(project)["README.md"]
    assert "<script>" not in readme
    assert "</request>" not in readme
    assert "\\$" in HOSTILE
    assert "&lt;script&gt;" in readme


@pytest.mark.parametrize(
    "word",
    [
        *("json", "test", "email", "import", "class", "none", "list", "page", "server", "warning"),
        *("property", "news", "request", "lambda", "true", "exception", "table", "self"),
    ],
)
def test_names_hide_neither_python_nor_the_project_itself(word: str) -> None:
    blueprint = build_blueprint(prompt := f"Build a {word} tracker", read_prompt(prompt), 0)
    assert blueprint.package.isidentifier()
    assert blueprint.package not in sys.stdlib_module_names
    for entity in blueprint.entities:
        for name in (entity.class_name, entity.service, entity.module):
            assert name.isidentifier()
            assert not keyword.iskeyword(name)
            assert name not in dir(builtins)
        for action in entity.actions:
            assert action.method.isidentifier()
            assert not keyword.iskeyword(action.method)
    for path, text in contents(design_project(f"Build a {word} tracker", 0)).items():
        if path.endswith(".py"):
            compile_strictly(path, text)


def test_no_participle_is_the_name_of_a_field_or_a_keyword() -> None:
    fields = {f.name for noun in vocabulary.NOUNS.values() for f in noun.fields}
    for verb in vocabulary.VERBS | set(keyword.kwlist):
        done = vocabulary.participle(verb.lower())
        assert done not in fields | set(keyword.kwlist) | {"id"}


def test_two_nouns_with_one_plural_become_one_entity() -> None:
    prompt = "a leaf tracker and a leave tracker"
    blueprint = build_blueprint(prompt, read_prompt(prompt), 0)
    assert [e.singular for e in blueprint.entities] == ["leaf"]


# Determinism


def digest(prompt: str, seed: int) -> str:
    project = design_project.__wrapped__(prompt, seed)
    files = json.dumps({k: list(v.items()) for k, v in project.files.items()})
    return hashlib.sha256((project.plan.model_dump_json() + files).encode()).hexdigest()


@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_every_process_designs_the_same_bytes(hash_seed: str) -> None:
    code = (
        "import sys, json; from tests.claude.simulation.test_project import digest;"
        "print(json.dumps([digest(p, s) for p, s in json.load(sys.stdin)]))"
    )
    asked = [[TODO, 0], [BLOG, 3], [SHOP, 1], [WORST, 2], ["hello world", 0]]
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(asked),
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "LC_ALL": "C", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert json.loads(done.stdout) == [digest(str(p), int(str(s))) for p, s in asked]


def test_another_seed_gives_another_project_with_the_same_tasks() -> None:
    seen = {digest(TODO, seed) for seed in range(5)}
    tasks = {frozenset(design_project(TODO, seed).files) for seed in range(5)}
    assert len(seen) == 5
    assert len(tasks) == 1


# Any prompt


SALAD = st.lists(
    st.sampled_from(
        sorted(
            set(vocabulary.NOUNS)
            | set(vocabulary.SYNONYMS)
            | set(vocabulary.PRODUCTS)
            | vocabulary.VERBS
            | {"with", ",", "and", ".", "a", "landing", "page", "script", "zorps", "frob", "class"}
            | set(keyword.kwlist)
        )
    ),
    max_size=25,
).map(" ".join)


def check_any(prompt: str, seed: int) -> None:
    project = design_project.__wrapped__(prompt, seed)
    assert plan_defects(project.plan) == []
    assert len(project.plan.tasks) == 1 or 4 <= len(project.plan.tasks) <= 12
    for path, text in contents(project).items():
        assert path_defect(path) is None
        text.encode()
        if path.endswith(".py"):
            compile_strictly(path, text)


@settings(max_examples=20, deadline=None)
@given(st.text(), st.integers())
def test_any_text_gives_a_sound_plan_and_code_that_compiles(prompt: str, seed: int) -> None:
    check_any(prompt, seed)


@settings(max_examples=40, deadline=None)
@given(SALAD, st.integers(0, 9))
def test_any_salad_of_words_gives_a_sound_plan_and_code_that_compiles(
    prompt: str, seed: int
) -> None:
    check_any(prompt, seed)


@pytest.mark.parametrize(
    "prompt",
    [
        *("x", " ", "todo " * 20_000, "a" * 100_000, "add " * 20_000, "\ud800", "\U0001f600" * 50),
        *("Créer une application de tâches", HOSTILE, "{}$" * 100, "\\" * 30, "'''\"\"\""),
    ],
)
def test_extreme_prompts_give_a_sound_plan_and_code_that_compiles(prompt: str) -> None:
    check_any(prompt, 0)


# Programs that work


@pytest.mark.parametrize(("prompt", "seed"), APPS)
def test_an_application_passes_its_own_tests_and_lint(
    prompt: str, seed: int, tmp_path: Path
) -> None:
    root = write(tmp_path, contents(design_project(prompt, seed)))
    run(root, "-m", "unittest", "discover", "-s", "tests", "-t", ".")
    lint(root)


def test_small_programs_pass_their_own_tests_and_lint(tmp_path: Path) -> None:
    seen = set()
    for n, prompt in enumerate(SMALL):
        files = contents(design_project(prompt, 0))
        seen.add(next(iter(files)))
        root = write(tmp_path / str(n), files)
        run(root, "-m", "unittest", "discover", "-s", "tests", "-t", ".")
        lint(root)
    assert len(seen) == len(SMALL) - 1  # "hello world" and "greeting" are the same


def lint(root: Path) -> None:
    ruff = shutil.which("ruff") or shutil.which("ruff", path=str(Path(sys.executable).parent))
    if ruff is None:
        return
    rules = ["--isolated", "--no-cache", "--select", "E,F,W,B,I", "--line-length", "100"]
    done = subprocess.run(
        [ruff, "check", *rules, "."], cwd=root, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout


def test_todos_are_added_completed_and_deleted_by_command_line_and_page(tmp_path: Path) -> None:
    root = write(tmp_path, contents(design_project(TODO, 0)))

    def todo(*arguments: str, code: int = 0) -> str:
        return run(root, "-m", "todo_app", *arguments, code=code)

    todo("add", "Buy milk")
    todo("add", "<b>$x & \U0001f600 {y}</b>")
    with serving(root, "todo_app") as address:
        assert "&lt;b&gt;$x &amp; \U0001f600 {y}&lt;/b&gt;" in ask("GET", f"{address}/")[1]
        assert ask("POST", f"{address}/todos/1/complete", {}, form=True)[0] == 200
        assert todo("list").splitlines()[0].split() == ["1.", "Buy", "milk", "[completed]"]
        todo("complete", "2")
        todos = json.loads(ask("GET", f"{address}/api/todos")[1])
        assert [t["completed"] for t in todos] == [True, True]
        assert ask("POST", f"{address}/api/todos", {"title": "Call home"})[0] == 201
        assert "3. Call home" in todo("list")
        assert ask("DELETE", f"{address}/api/todos/1")[0] == 200
        assert ask("POST", f"{address}/todos/2/delete", {}, form=True)[0] == 200
        assert todo("list") == "3. Call home\n"
        todo("delete", "3")
        assert json.loads(ask("GET", f"{address}/api/todos")[1]) == []
        assert ask("POST", f"{address}/api/todos/3/complete")[0] == 404
        assert ask("POST", f"{address}/api/todos", {"title": " "})[0] == 400
        assert ask("POST", f"{address}/api/todos", ["x"])[0] == 400
        assert ask("GET", f"{address}/static/../contract.py")[0] == 404
        assert ask("GET", f"{address}/static/style.css")[0] == 200
    assert "no id 9" in todo("complete", "9", code=1)
    assert "error: " in todo("--data", "absent/x.json", "add", "x", code=1)


def test_a_contact_form_is_stored_listed_by_its_owner_and_shown_to_nobody(tmp_path: Path) -> None:
    root = write(tmp_path, contents(design_project(LANDING, 0)))
    sent = {"name": "Ada", "email": "ada@example.org", "text": "Hello <there>"}
    with serving(root, "landing_app", "--data", "m.json") as address:
        assert 'action="/messages"' in ask("GET", f"{address}/")[1]
        assert "Thank you" in ask("POST", f"{address}/messages", sent, form=True)[1]
        assert ask("GET", f"{address}/api/messages")[0] == 405
        assert ask("POST", f"{address}/messages", {**sent, "email": "x"}, form=True)[0] == 400
        assert "Hello" not in ask("GET", f"{address}/")[1]
    assert "Hello <there>" in run(root, "-m", "landing_app", "--data", "m.json", "list")


def test_a_checkout_adds_up_the_cart_and_empties_it(tmp_path: Path) -> None:
    root = write(tmp_path, contents(design_project(SHOP, 0)))

    def shop(*arguments: str, code: int = 0) -> str:
        return run(root, "-m", "shop_app", *arguments, code=code)

    shop("product", "add", "Mug", "--price-cents", "900")
    shop("product", "add", "Cup", "--price-cents", "150")
    shop("cart-item", "add", "1", "--quantity", "2")
    shop("cart-item", "add", "2", "--quantity", "3")
    assert "still used" in shop("product", "delete", "1", code=1)
    assert "no id 7" in shop("cart-item", "add", "7", "--quantity", "1", code=1)
    assert "total cents: 2250" in shop("order", "checkout", "Ada")
    assert shop("cart-item", "list") == "No cart items.\n"
    assert "empty" in shop("order", "checkout", "Ada", code=1)
    shop("order", "pay", "1")
    assert "[paid]" in shop("order", "list")


def test_the_readme_names_every_command_and_route() -> None:
    for prompt, seed in EXAMPLES:
        project = design_project(prompt, seed)
        names: dict[str, Any] = {}
        contract = project.plan.contracts[0].content
        tree = ast.parse(contract)
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names[node.targets[0].id] = ast.literal_eval(node.value)
        readme = contents(project)["README.md"]
        assert all(f"| `{command}` |" in readme for command in names["COMMANDS"])
        assert all(f"| {method} | `{path}` |" in readme for method, path in names["ROUTES"])
        assert f":{names['DEFAULT_PORT']}/" in readme


# Source text


def test_a_call_that_fits_is_put_on_one_line() -> None:
    assert join_short("x = f(\n    1,\n    2,\n)\n") == "x = f(1, 2)\n"
    assert join_short("f(\n    g(\n        1,\n    ),\n)\n") == "f(g(1))\n"


def test_a_call_that_does_not_fit_a_tuple_and_a_comment_are_left_alone() -> None:
    for code in (
        f"f(\n    {'x' * 90},\n    {'y' * 9},\n)\n",
        "x = (\n    1,\n)\n",
        "f(\n    1,  # one\n    2,\n)\n",
    ):
        assert join_short(code) == code


def test_imports_are_ordered_as_isort_orders_them() -> None:
    modules: dict[str, list[str]] = {"b": ["f", "Zoo", "MAX", "Ant"], "a": ["x"], "c": []}
    assert import_block(modules) == "import c\nfrom a import x\nfrom b import MAX, Ant, Zoo, f\n"


# Files outside any project


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


OWNS = (
    *("a.py", "docs/b.md", "c.html", "d.css", "e.js", "f.json", "g.toml", "h.yaml", "i.sh"),
    *("j.txt", "Makefile", "k.svg", "l.ini", "app/static/"),
)


@pytest.mark.parametrize("prompt", [TODO, HOSTILE, "", "'; rm -rf / #\n\\", "\ud800 ünï"])
def test_unplanned_files_are_valid_for_their_kind(prompt: str, tmp_path: Path) -> None:
    files = dict(write_unplanned("own-task", OWNS, prompt, 0))
    assert list(files) == [*OWNS[:-1], "app/static/README.md"]
    write(tmp_path, files)
    compile_strictly("a.py", files["a.py"])
    assert json.loads(files["f.json"])["task"] == "own-task"
    assert tomllib.loads(files["g.toml"]) == {"task": "own-task"}
    assert files["h.yaml"] == 'task: "own-task"\n'
    configparser.ConfigParser().read_string(files["l.ini"])
    page = _Page()
    page.feed(files["c.html"])
    assert "script" not in page.tags
    shell = shutil.which("sh")
    assert shell is not None
    done = subprocess.run([shell, tmp_path / "i.sh"], capture_output=True, text=True, check=True)
    assert done.stdout == "own-task\n"


def test_unplanned_files_do_not_depend_on_anything_but_the_arguments() -> None:
    assert write_unplanned("t", OWNS, TODO, 0) == write_unplanned("t", OWNS, TODO, 0)
