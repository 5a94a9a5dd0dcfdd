"""The git history of a new project: one commit a step, in a repository delivered with it."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from core.bundle import build_manifest
from core.errors import GitFailed, PreflightFailed
from core.job import Manifest, ManifestEntry
from core.workspace.confined import remove_tree
from engine.repository.branch import CommitStep, commit_message, proven_content
from engine.repository.git import Git, call_git, environment
from engine.repository.objects import author_of, store_blobs, store_commit
from engine.repository.tree import Tree, tree_writer
from engine.run.rundir import RunDir

HISTORY = ".git"
_BRANCH = "main"


def write_history(run: RunDir, steps: Sequence[CommitStep]) -> Path:
    """The repository with them, whose index is as its last commit. It replaces what was there, and
    is the same for the same steps and author. Raises GitFailed, MergeError."""
    place = run.repository
    remove_tree(place)
    init = ("init", "--quiet", "--bare", "--template=", f"--initial-branch={_BRANCH}")
    call_git((*init, "--object-format=sha1", str(place)), place, b"", environment({}))
    git, tip, tree_id = Git(place), "", ""
    git.run("config", "core.bare", "false")
    who = author_of(git)
    with git.objects() as reader, tree_writer(git) as writer:
        tree = Tree(reader, "")
        for step in (step for step in steps if step.files or step.deleted):
            ids = store_blobs(git, map(proven_content, step.files), run.root)
            for path in step.deleted:
                tree.remove(path)
            for file, oid in zip(step.files, ids, strict=True):
                tree.put(file.path, 0o100755 if file.mode & 0o100 else 0o100644, oid)
            if (written := tree.write(writer)) != tree_id:
                tree_id = written
                tip = store_commit(git, tree_id, tip, commit_message(step), who, step.when)
    git.run("update-ref", f"refs/heads/{_BRANCH}", tip)
    git.run("read-tree", tip, index=place / "index")
    return place


def with_history(files: Manifest, git_dir: Path) -> Manifest:
    """A manifest that tells of a repository what its names refer to: work that somebody commits
    there makes it another."""
    git = Git(git_dir)
    try:
        refs = git.run("for-each-ref", "--format=%(refname) %(objectname)")
        state = git.run("rev-parse", "--symbolic-full-name", "HEAD") + refs
    except (GitFailed, PreflightFailed):
        state = b"unusable"
    entry = ManifestEntry(HISTORY, 0, sha256(state).hexdigest(), 0o755)
    return Manifest((entry, *files.entries))


def without_history(manifest: Manifest) -> Manifest:
    """The files alone."""
    return Manifest(tuple(entry for entry in manifest.entries if entry.path != HISTORY))


def delivered_manifest(target: Path) -> Manifest:
    """The files of a directory, and what its history is, if it has one. Raises BundleError."""
    whole = build_manifest(target)
    if not (target / HISTORY).is_dir():
        return whole
    inside = f"{HISTORY}/"
    files = tuple(entry for entry in whole.entries if not entry.path.startswith(inside))
    return with_history(Manifest(files), target / HISTORY)
