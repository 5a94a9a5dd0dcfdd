"""A directory that is in no repository, as one commit in a repository of the run's own."""

import os
from collections.abc import Iterator
from pathlib import Path

from core.errors import UsageError, WorkspaceError
from core.workspace.confined import MAX_ENTRIES, ConfinedTree, remove_tree
from engine.repository.git import Git, call_git, environment
from engine.repository.left_out import LARGEST_BYTES, LeftOut, Selection, printable
from engine.repository.objects import PROGRAM, store_blobs, store_commit
from engine.repository.tree import Tree, tree_writer

# Where no .gitignore says so: what tools make, and the program's own
_MADE = ("__pycache__", "node_modules", ".venv", "venv", ".tox", ".mypy_cache", ".pytest_cache")
_IGNORED = (*_MADE, ".ruff_cache", ".orchestrator")


def import_directory(directory: Path, git: Git) -> tuple[str, list[LeftOut]]:
    """The id of a commit with the directory's usable files, and what is left out. Ignored files are
    neither. `git` is of the repository that is made for it, in place of one that is there."""
    remove_tree(git.git_dir)
    init = ("init", "--quiet", "--bare", "--template=", "--object-format=sha1", str(git.git_dir))
    call_git(init, git.git_dir, b"", environment({}))
    selection, files = Selection(), list[tuple[str, int]]()
    contents = _contents(directory, _names(directory, git), selection, files)
    ids = store_blobs(git, contents, git.git_dir.parent)
    with git.objects() as reader, tree_writer(git) as writer:
        tree = Tree(reader, "")
        for (path, mode), oid in zip(files, ids, strict=True):
            tree.put(path, mode, oid)
        root = tree.write(writer)
    commit = store_commit(git, root, "", "What was there\n", PROGRAM, 0)
    git.run("update-ref", "HEAD", commit)
    return commit, selection.others


def _names(directory: Path, git: Git) -> list[str]:
    """What is not ignored, in an order of its own; a repository in it as one, with a slash."""
    ignored = [f"--exclude={name}/" for name in _IGNORED]
    command = ("ls-files", "--others", "-z", "--exclude-standard", *ignored)
    names = os.fsdecode(git.run(*command, work_tree=directory)).split("\0")[:-1]
    if len(names) > MAX_ENTRIES:
        raise UsageError(
            f"{directory} has {len(names):,} files; at most {MAX_ENTRIES:,} are taken.",
            "Name a folder of it with --into, or list in .gitignore what is made by tools.",
        )
    return sorted(names)


def _contents(
    directory: Path, names: list[str], selection: Selection, files: list[tuple[str, int]]
) -> Iterator[bytes]:
    """The content of each usable file, whose path and mode go to `files`."""
    tree = ConfinedTree(directory)
    for path in names:
        try:
            info = os.lstat(directory / path)
            if path.endswith("/"):
                selection.others.append(LeftOut(printable(path), "a git repository of its own"))
            elif selection.takes(path, info.st_mode, info.st_size):
                data = tree.read(path, LARGEST_BYTES + 1)
                if selection.takes_content(path, data):
                    files.append((path, 0o100755 if info.st_mode & 0o100 else 0o100644))
                    yield data
        except FileNotFoundError:
            continue  # it was removed meanwhile
        except (OSError, WorkspaceError) as exc:
            selection.others.append(LeftOut(printable(path), f"cannot be read ({exc})"))
