# SPDX-License-Identifier: Apache-2.0
"""The source commit is read as git would say it, and never breaks anything."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from signwright.client.source import find_revision
from tests.support.tools import require_tool


def git(folder: Path, *arguments: str) -> str:
    command = [require_tool("git"), "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def repository(folder: Path, url: str = "https://user:secret@example.com/a/b.git") -> str:
    git(folder, "init", "-q", "-b", "main")
    git(folder, "remote", "add", "origin", url)
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    return git(folder, "rev-parse", "HEAD")


def test_commit_branch_and_remote_are_found_without_the_password(tmp_path: Path) -> None:
    commit = repository(tmp_path)
    (tmp_path / "dist").mkdir()
    found = find_revision(tmp_path / "dist")
    assert found is not None
    assert (found.commit, found.ref, found.repository) == (commit, "refs/heads/main", "https://example.com/a/b.git")


def test_packed_refs_detached_heads_and_worktrees_are_read(tmp_path: Path) -> None:
    main, tree = tmp_path / "main", tmp_path / "tree"
    main.mkdir()
    commit = repository(main)
    git(main, "pack-refs", "--all")
    git(main, "worktree", "add", "-q", str(tree), "-b", "side")
    assert (found := find_revision(tree)) is not None
    assert (found.commit, found.ref) == (commit, "refs/heads/side")
    git(main, "checkout", "-q", "--detach")
    assert (found := find_revision(main)) is not None
    assert (found.commit, found.ref) == (commit, None)


def test_folder_without_a_repository_or_a_remote_says_nothing(tmp_path: Path) -> None:
    assert find_revision(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert find_revision(tmp_path) is None


@given(head=st.binary(max_size=60), config=st.binary(max_size=200))
def test_rubbish_in_a_repository_is_no_error(tmp_path_factory, head: bytes, config: bytes) -> None:
    folder = tmp_path_factory.mktemp("g")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_bytes(head)
    (folder / ".git" / "config").write_bytes(config)
    found = find_revision(folder)
    assert found is None or len(found.commit) in (40, 64)
