"""A hostile repository: nothing that it chose is run, nothing escapes from it, nothing is lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from core.errors import GitFailed, MergeError, OrchestratorError
from engine.repository.base import prepare_base
from engine.repository.branch import commit_steps, fast_forward, how_to_take
from tests.engine.repository.repos import (
    commit_files,
    fingerprint,
    git,
    make_repository,
    make_run,
    make_step,
    write_files,
)

HOOKS = (
    *("applypatch-msg", "commit-msg", "fsmonitor-watchman", "post-checkout", "post-commit"),
    *("post-index-change", "post-merge", "post-rewrite", "pre-auto-gc", "pre-commit", "update"),
    *("pre-merge-commit", "prepare-commit-msg", "reference-transaction", "sendemail-validate"),
)
COMMANDS = (
    *("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.askPass"),
    *("core.gitProxy", "core.alternateRefsCommand", "credential.helper", "gpg.program"),
    *("filter.x.clean", "filter.x.smudge", "filter.x.process", "diff.x.command"),
    *("diff.x.textconv", "diff.external", "merge.x.driver", "trailer.run.cmd", "ssh.variant"),
    *("remote.origin.uploadpack", "remote.origin.receivepack", "uploadpack.packObjectsHook"),
    *("pager.status", "pager.config", "pager.rev-parse", "interactive.diffFilter"),
    *("filter.a=b.clean", "filter.a=b.process", "trace2.eventTarget", "gpg.ssh.program"),
)
VERBS = ("rev-parse", "ls-tree", "cat-file", "status", "config", "hash-object", "mktree", "var")


def arm(repo: Path, trap: Path) -> None:
    """Every way that a repository's own directory has to make git run something."""
    for place in (repo / ".git" / "hooks", trap.parent / "hooks"):
        place.mkdir(exist_ok=True)
        for name in HOOKS:
            shutil.copy(trap, place / name)
    included = repo / ".git" / "included"
    for number, key in enumerate(COMMANDS):
        git(
            repo, "config", "--file", str(included) if number % 2 else ".git/config", key, str(trap)
        )
    for verb in VERBS:
        git(repo, "config", f"alias.{verb}", f"!{trap}")
    git(repo, "config", "include.path", "included")
    git(repo, "config", "core.hooksPath", str(trap.parent / "hooks"))
    for key in ("commit.gpgSign", "log.showSignature", "submodule.recurse", "filter.x.required"):
        git(repo, "config", key, "true")
    git(repo, "config", "submodule.lib.update", f"!{trap}")
    git(repo, "config", "remote.origin.url", f"ext::{trap}")
    write_files(repo / ".git", {"info/attributes": "* filter=a=b diff=x merge=x\n"})


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def trap(tmp_path: Path, marker: Path) -> Path:
    program = tmp_path / "trap" / "run"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho $0 $* >> {marker}\n")
    program.chmod(0o755)
    return program


def test_nothing_that_it_chose_is_run(
    tmp_path: Path, marker: Path, trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib = make_repository(tmp_path / "lib")
    files = {"a.txt": "a\n", "b.txt": "b\n", ".gitattributes": "* filter=x diff=x merge=x\n"}
    repo, run = make_repository(tmp_path / "repo", files), make_run(tmp_path)
    git(repo, "submodule", "--quiet", "add", str(lib), "lib")
    git(repo, "config", "--file", ".gitmodules", "submodule.lib.url", f"--upload-pack={trap}")
    commit_files(repo, {".gitmodules": (repo / ".gitmodules").read_bytes()})
    git(repo, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},-u./evil")
    git(repo, "commit", "--quiet", "-m", "modules")
    write_files(repo, {"a.txt": "changed\n", "new.txt": "n\n"})
    arm(repo, trap)
    shutil.copy(trap, repo / ".git/modules/lib/hooks/post-checkout")
    git(repo / "lib", "config", "core.fsmonitor", str(trap))
    home = tmp_path / "home"
    write_files(home, {".gitconfig": f'[filter "x"]\nclean={trap}\n[core]\nfsmonitor={trap}\n'})
    monkeypatch.setenv("HOME", str(home))
    for name in ("GIT_SSH_COMMAND", "GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_EDITOR", "GIT_ASKPASS"):
        monkeypatch.setenv(name, str(trap))
    monkeypatch.setenv("GIT_DIR", str(lib / ".git"))
    marker.unlink(missing_ok=True)
    before = fingerprint(repo)
    base = prepare_base(repo, "", run)
    assert base.uncommitted == ("a.txt", "new.txt")
    commit_steps(run, base, [make_step(tmp_path / "s", {"b.txt": "b2"})])
    assert "merge --ff-only" in how_to_take(base, "run-1")
    assert "uncommitted" in (fast_forward(base, run) or "")
    assert fingerprint(repo) == before
    assert not marker.exists(), marker.read_text()
    git(repo, "checkout", "HEAD", "--", "a.txt", check=False)
    assert marker.exists(), "the traps work"


@pytest.mark.parametrize("attribute", ["filter=x", "merge=x"])
def test_nothing_is_run_when_the_work_tree_moves(
    attribute: str, tmp_path: Path, marker: Path, trap: Path
) -> None:
    files = {"a.txt": "a\n", "b.txt": "b\n", ".gitattributes": f"* {attribute}\n"}
    repo, run = make_repository(tmp_path / "repo", files), make_run(tmp_path)
    base = prepare_base(repo, "", run)
    commit_steps(run, base, [make_step(tmp_path / "s", {"b.txt": "b2\n"})])
    arm(repo, trap)
    (repo / ".git/info/attributes").unlink()
    for path in ("a.txt", "b.txt"):
        (repo / path).touch()
    marker.unlink(missing_ok=True)
    told = fast_forward(base, run)
    assert (told is None) == (attribute == "merge=x"), told
    assert (repo / "b.txt").read_text() == ("b2\n" if told is None else "b\n")
    assert not marker.exists(), marker.read_text()


def test_nothing_is_fetched_for_a_partial_clone(tmp_path: Path, marker: Path, trap: Path) -> None:
    origin = make_repository(tmp_path / "origin", {"a.txt": "a"})
    git(origin, "config", "uploadpack.allowFilter", "true")
    where = (f"file://{origin}", "clone")
    git(tmp_path, "clone", "--quiet", "--no-checkout", "--filter=blob:none", *where)
    repo = tmp_path / "clone"
    arm(repo, trap)
    git(repo, "config", "protocol.allow", "always")
    git(repo, "config", "protocol.ext.allow", "always")
    marker.unlink(missing_ok=True)
    with pytest.raises(GitFailed, match="A partial clone, for which nothing is fetched here"):
        prepare_base(repo, "", make_run(tmp_path))
    assert not marker.exists(), marker.read_text()


def test_a_result_does_not_go_through_a_link_out_of_the_tree(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    repo, run = make_repository(tmp_path / "repo"), make_run(tmp_path)
    (repo / "src/out").symlink_to(outside)
    git(repo, "add", "src/out")
    git(repo, "commit", "--quiet", "-m", "link")
    base = prepare_base(repo, "", run)
    assert "src/out" not in base.manifest.paths
    with pytest.raises(MergeError, match="'src/out' is a symbolic link there"):
        commit_steps(run, base, [make_step(tmp_path / "s", {"src/out/x.py": "x"})])
    commit_steps(run, base, [make_step(tmp_path / "t", {"src/x.py": "x"})])
    shutil.rmtree(repo / "src")
    (repo / "src").symlink_to(outside)
    assert fast_forward(base, run) is not None
    assert os.listdir(outside) == []


@pytest.mark.parametrize("link", ["refs/heads/orchestrator", "refs/heads"])
def test_a_branch_is_not_written_through_a_link(link: str, tmp_path: Path) -> None:
    repo, run = make_repository(tmp_path / "repo"), make_run(tmp_path)
    base = prepare_base(repo, "", run)
    git(repo, "pack-refs", "--all")
    outside, place = tmp_path / "outside", repo / ".git" / link
    outside.mkdir()
    if place.is_dir():
        shutil.rmtree(place)
    place.symlink_to(outside)
    with pytest.raises(MergeError, match=f"{link} is a symbolic link"):
        commit_steps(run, base, [make_step(tmp_path / "s", {"x.py": "x"})])
    assert os.listdir(outside) == []


def test_a_branch_that_names_another_does_not_move_that(tmp_path: Path) -> None:
    repo, run = make_repository(tmp_path / "repo"), make_run(tmp_path)
    base = prepare_base(repo, "", run)
    git(repo, "symbolic-ref", "refs/heads/orchestrator/run-1", "refs/heads/main")
    with pytest.raises(MergeError, match="by somebody else"):
        commit_steps(run, base, [make_step(tmp_path / "s", {"x.py": "x"})])
    assert git(repo, "rev-parse", "main") == base.commit


def test_line_ends_and_executable_bits_are_kept_under_autocrlf(tmp_path: Path) -> None:
    files = {"dos.txt": "a\r\nb\r\n", "unix.txt": "a\nb\n", "run.sh": "#!/bin/sh\n"}
    repo, run = make_repository(tmp_path / "repo", files), make_run(tmp_path)
    git(repo, "update-index", "--chmod=+x", "run.sh")
    git(repo, "commit", "--quiet", "-m", "x")
    git(repo, "config", "core.autocrlf", "true")
    base = prepare_base(repo, "", run)
    assert (run.base / "dos.txt").read_bytes() == b"a\r\nb\r\n"
    commit_steps(run, base, [make_step(tmp_path / "s", {"dos.txt": "a\r\nc\r\n"})])
    shown = git(repo, "cat-file", "blob", "orchestrator/run-1:dos.txt")
    assert shown == "a\r\nc\r"
    listed = git(repo, "ls-tree", "orchestrator/run-1", "run.sh", "unix.txt").split()
    assert (listed[0], listed[4]) == ("100755", "100644")


@pytest.mark.parametrize("what", ["config", "index", "HEAD", "objects"])
def test_a_damaged_repository_ends_with_a_cause(what: str, tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"a.txt": "a" * 1000})
    if what == "objects":
        blob = git(repo, "rev-parse", "HEAD:a.txt")
        place = repo / ".git/objects" / blob[:2] / blob[2:]
        place.chmod(0o644)
        place.write_bytes(b"damaged")
    else:
        (repo / ".git" / what).write_bytes(b"\0[damaged")
    with pytest.raises(OrchestratorError) as failed:
        prepare_base(repo, "", make_run(tmp_path))
    assert failed.value.remedy
    assert "Traceback" not in str(failed.value)
