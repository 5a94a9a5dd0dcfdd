"""A commit's files are laid out for executors; the repository is not touched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from core.bundle import build_manifest
from engine.repository.base import BaseRecord, prepare_base, read_base
from tests.engine.repository.repos import (
    Killed,
    commit_entries,
    commit_files,
    dying,
    fingerprint,
    git,
    make_repository,
    make_run,
    write_files,
)


def lay_out(into: Path, tmp_path: Path, ref: str = "") -> tuple[BaseRecord, dict[str, bytes]]:
    run = make_run(tmp_path)
    record = prepare_base(into, ref, run)
    assert build_manifest(run.base) == record.manifest
    assert read_base(run) == record
    files = {path: (run.base / path).read_bytes() for path in record.manifest.paths}
    return record, files


def reasons(record: BaseRecord) -> dict[str, str]:
    return {entry.path: entry.why for entry in record.left_out}


def test_the_files_of_head_are_laid_out(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"a.txt": "a\n", "bin/run": "#!/bin/sh\n"})
    git(repo, "update-index", "--chmod=+x", "bin/run")
    git(repo, "commit", "--quiet", "-m", "x")
    before = fingerprint(repo)
    record, files = lay_out(repo, tmp_path)
    assert files == {"a.txt": b"a\n", "bin/run": b"#!/bin/sh\n"}
    assert [entry.mode for entry in record.manifest.entries] == [0o644, 0o755]
    assert record.commit == git(repo, "rev-parse", "HEAD")
    assert (record.branch, record.prefix, record.is_plain) == ("main", "", False)
    assert (record.directory, record.git_dir) == (str(repo), str(repo / ".git"))
    assert fingerprint(repo) == before


def test_a_subfolder_limits_the_base_to_it(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"a.txt": "a", "web/app/b.txt": "b"})
    record, files = lay_out(repo / "web/app", tmp_path)
    assert files == {"b.txt": b"b"}
    assert (record.prefix, record.directory) == ("web/app/", str(repo / "web/app"))


def test_another_commit_can_be_the_base(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"a.txt": "old"})
    git(repo, "tag", "v1")
    commit_files(repo, {"a.txt": "new"})
    assert lay_out(repo, tmp_path, "v1")[1] == {"a.txt": b"old"}


def test_a_detached_head_has_no_branch(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    git(repo, "checkout", "--quiet", "--detach")
    assert lay_out(repo, tmp_path)[0].branch == ""


def test_a_linked_worktree_has_its_own_head(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    git(repo, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "linked"))
    commit_files(tmp_path / "linked", {"new.txt": "new"})
    record, files = lay_out(tmp_path / "linked", tmp_path)
    assert (record.branch, files["new.txt"]) == ("other", b"new")


@pytest.mark.parametrize("kind", ["shallow", "sha256", "packed", "alternates"])
def test_every_kind_of_repository_is_read(kind: str, tmp_path: Path) -> None:
    init = ("--object-format=sha256",) if kind == "sha256" else ()
    repo = make_repository(tmp_path / "origin", {"a.txt": "a", "b/c.txt": "c"}, *init)
    commit_files(repo, {"a.txt": "a2"})
    if kind == "shallow":
        git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repo}", "clone")
        repo = tmp_path / "clone"
    elif kind == "alternates":
        git(tmp_path, "clone", "--quiet", "--shared", str(repo), "clone")
        repo = tmp_path / "clone"
    elif kind == "packed":
        git(repo, "gc", "--quiet")
        git(repo, "pack-refs", "--all")
    before = fingerprint(repo)
    record, files = lay_out(repo, tmp_path)
    assert files == {"a.txt": b"a2", "b/c.txt": b"c"}
    assert len(record.commit) == (64 if kind == "sha256" else 40)
    assert fingerprint(repo) == before


def test_what_executors_cannot_use_is_named_and_left_out(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"a.txt": "a"})
    head = git(repo, "rev-parse", "HEAD")
    file, link = "100644", "120000"
    commit_entries(
        repo,
        {
            b"good.bin": (file, b"\0\xff"),
            b"link": (link, b"/etc"),
            b"module": ("160000", head.encode()),
            b"big.bin": (file, bytes(6 * 1024 * 1024)),
            b"lfs.bin": (file, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
            b"new\nline": (file, b"1"),
            b"-option": (file, b"2"),
            b"back\\slash": (file, b"3"),
            b"latin-\xe9": (file, b"4"),
            b"README": (file, b"5"),
            b"readme": (file, b"6"),
            b".GIT": (file, b"7"),
            b"aux": (file, b"8"),
        },
    )
    record, files = lay_out(repo, tmp_path)
    assert files == {"good.bin": b"\0\xff", "-option": b"2", "README": b"5"}
    assert reasons(record) == {
        "link": "a symbolic link",
        "module": "a submodule",
        "big.bin": "larger than 5 MiB (6.0 MiB)",
        "lfs.bin": "an LFS pointer",
        "new\\nline": "its name has the character '\\n', which is not portable",
        "back\\slash": "its name has the character '\\\\', which is not portable",
        "latin-\\udce9": "its name has characters that are not valid Unicode",
        "readme": "its name collides with 'README'",
        ".GIT": "its name goes into '.GIT', which is not the project's",
        "aux": "its name has a name reserved on Windows: 'aux'",
    }
    assert record.left_out_count == len(record.left_out)


SECRETS = (
    *(".env", ".env.production", "prod.env", "tls/server.pem", "server.key", "id_rsa", "a.p12"),
    *("app.keystore", ".netrc", ".pypirc", "config/credentials.json", "x/id_ed25519", ".pgpass"),
)
NO_SECRETS = (".env.example", ".env.sample", ".env.template", "id_rsa.pub", "keys.py", "env.py")


def test_what_looks_like_a_secret_is_left_out(tmp_path: Path) -> None:
    files = dict.fromkeys((*SECRETS, *NO_SECRETS), "x") | {
        ".npmrc": "//registry.example.org/:_authToken=abc\n",
        "plain/.npmrc": "save-exact=true\n",
        "deploy": "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n",
        "key.py": 'START = "-----BEGIN PRIVATE KEY-----"\n',
    }
    record, laid_out = lay_out(make_repository(tmp_path / "repo", files), tmp_path)
    assert {*reasons(record)} == {*SECRETS, ".npmrc", "deploy"}
    assert {*reasons(record).values()} == {"looks like a secret"}
    assert {*laid_out} == {*NO_SECRETS, "plain/.npmrc", "key.py"}


def test_names_that_differ_in_case_are_laid_out_once(tmp_path: Path) -> None:
    files = {"Src/a.py": "1", "src/b.py": "2", "lib": "3", "LIB/c.py": "4"}
    record, laid_out = lay_out(make_repository(tmp_path / "repo", files), tmp_path)
    assert {*laid_out} == {"LIB/c.py", "Src/a.py"}
    assert {*reasons(record)} == {"src/b.py", "lib"}


def test_two_hundred_are_named_and_all_counted(tmp_path: Path) -> None:
    files = {f"{n}.key": "x" for n in range(230)} | {"a.py": ""}
    record, _ = lay_out(make_repository(tmp_path / "repo", files), tmp_path)
    assert (len(record.left_out), record.left_out_count) == (200, 230)


def test_uncommitted_changes_are_named_and_not_used(tmp_path: Path) -> None:
    repo = make_repository(
        tmp_path / "repo", {"a.txt": "a", "b.txt": "b", "sub/c.txt": "c", ".gitignore": "*.log\n"}
    )
    write_files(repo, {"a.txt": "changed", "sub/new.txt": "n", "x.log": "ignored", "dir/y": "y"})
    write_files(repo, {"b.txt": "staged"})
    git(repo, "add", "b.txt")
    before = fingerprint(repo)
    record, files = lay_out(repo, tmp_path)
    assert record.uncommitted == ("a.txt", "b.txt", "dir/", "sub/new.txt")
    assert (files["a.txt"], files["b.txt"]) == (b"a", b"b")
    assert fingerprint(repo) == before
    assert prepare_base(repo / "sub", "", make_run(tmp_path, "2")).uncommitted == ("new.txt",)


def test_a_clean_work_tree_stays_clean_whatever_the_line_ends(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"a.txt": "a\nb\n"})
    git(repo, "config", "core.autocrlf", "true")
    (repo / "a.txt").unlink()
    git(repo, "checkout", "--", "a.txt")
    assert (repo / "a.txt").read_bytes() == b"a\r\nb\r\n"
    (repo / "a.txt").touch()  # so that git has to read it
    before = fingerprint(repo)
    record, files = lay_out(repo, tmp_path)
    assert (record.uncommitted, files) == ((), {"a.txt": b"a\nb\n"})
    assert fingerprint(repo) == before


@pytest.mark.parametrize(
    "command",
    [
        "update-index --split-index",
        "update-index --index-version=4 --untracked-cache",
        "sparse-checkout set --cone --sparse-index sub",
        "update-index --assume-unchanged a.txt",
    ],
)
def test_every_kind_of_index_is_read(command: str, tmp_path: Path) -> None:
    files = {"a.txt": "a", "sub/b.txt": "b", "other/c.txt": "c"}
    repo = make_repository(tmp_path / "repo", files)
    git(repo, *command.split())
    before = fingerprint(repo)
    assert lay_out(repo, tmp_path)[0].uncommitted == ()
    assert fingerprint(repo) == before
    write_files(repo, {"sub/b.txt": "changed"})
    assert prepare_base(repo, "", make_run(tmp_path, "2")).uncommitted == ("sub/b.txt",)


def test_a_base_is_made_once(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"a.txt": "a", "b/c.txt": "c"})
    run = make_run(tmp_path)
    record = prepare_base(repo, "", run)
    commit_files(repo, {"a.txt": "later"})
    assert prepare_base(repo, "", run) == record
    (run.base / "b/c.txt").write_bytes(b"")  # as after a power cut
    assert prepare_base(repo, "", run) == record
    assert build_manifest(run.base) == record.manifest


def test_what_a_crash_left_is_replaced(tmp_path: Path) -> None:
    repo, run = make_repository(tmp_path / "repo", {"a.txt": "a"}), make_run(tmp_path)
    write_files(run.base, {"half.txt": "h"})
    prepare_base(repo, "", run)
    assert build_manifest(run.base).paths == ("a.txt",)


@pytest.mark.parametrize("is_plain", [True, False])
def test_ended_at_any_step_the_base_is_the_same_when_repeated(
    is_plain: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "code"
    if is_plain:
        write_files(place, {"a.txt": "a", "b/c.txt": "c"})
    else:
        make_repository(place, {"a.txt": "a", "b/c.txt": "c"})
    before, last, ended = fingerprint(place), 0, True
    while ended:
        run = make_run(tmp_path, f"run-{last}")
        with monkeypatch.context() as patch:
            left = iter(range(last))
            for module, name in ((subprocess, "Popen"), (os, "replace"), (os, "open")):
                patch.setattr(module, name, dying(getattr(module, name), left))
            try:
                prepare_base(place, "", run)
                ended = False
            except Killed:
                last += 2
        record = prepare_base(place, "", run)
        assert build_manifest(run.base) == record.manifest
        assert record.manifest.paths == ("a.txt", "b/c.txt")
        assert fingerprint(place) == before
    assert last > 10


def test_no_more_processes_are_started_for_more_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, started = subprocess.Popen, list[object]()

    def counted(*given: object, **options: object) -> object:
        started.append(given)
        return real(*given, **options)  # type: ignore[call-overload]

    counts = []
    for number in (1, 2, 300):
        files = {f"d{n % 7}/{n}.txt": str(n) for n in range(number)}
        repo = make_repository(tmp_path / f"{number}", files)
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", counted)
            record = prepare_base(repo, "", make_run(tmp_path, f"{number}"))
        assert len(record.manifest.paths) == number
        counts.append(len(started))
        started.clear()
    assert counts[1] == counts[2]
