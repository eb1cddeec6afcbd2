# SPDX-License-Identifier: Apache-2.0
"""The artifact store: whole or not at all, whatever the steps in which the bytes came."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import MalformedError, NotFoundError, UnavailableError
from signwright.hub.adapters.artifacts import ArtifactStore


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def send(store: ArtifactStore, name: str, *blocks: bytes):
    partial = store.open_partial(name)
    for block in blocks:
        store.append(partial, [block])
    return partial


@given(st.lists(st.binary(max_size=64), max_size=6), st.data())
def test_content_is_the_same_however_it_was_cut_and_whoever_forgot(blocks, data):
    content = b"".join(blocks)
    with tempfile.TemporaryDirectory() as folder:
        store = ArtifactStore(Path(folder))
        name, sent = store.new_partial(), 0
        for block in blocks:
            store.leave(send(store, name, block))
            if data.draw(st.booleans()):
                store = ArtifactStore(Path(folder))  # another process: the hash is read again
            sent += len(block)
            assert store.received(name) == sent
        store.finish(send(store, name), sha256=digest(content))
        assert store.path_of(digest(content)).read_bytes() == content
        assert store.partials() == []


def test_wrong_content_leaves_nothing(tmp_path):
    store = ArtifactStore(tmp_path)
    with pytest.raises(MalformedError) as caught:
        store.finish(send(store, "p", b"other"), sha256=digest(b"content"))
    assert caught.value.code == "wrong-content"
    assert store.partials() == []
    assert not store.has(digest(b"content"))


def test_same_content_twice_is_one_file_and_the_first(tmp_path):
    store = ArtifactStore(tmp_path)
    store.finish(send(store, "a", b"content"), sha256=digest(b"content"))
    before = store.path_of(digest(b"content")).stat()
    store.finish(send(store, "b", b"content"), sha256=digest(b"content"))
    assert store.path_of(digest(b"content")).stat().st_ino == before.st_ino


def test_bytes_that_another_wrote_behind_the_hash_are_counted(tmp_path):
    store = ArtifactStore(tmp_path)
    store.leave(send(store, "p", b"one"))
    with (tmp_path / "partial/p").open("ab") as file:
        file.write(b"two")
    partial = store.open_partial("p")
    assert partial.offset == 6
    store.finish(partial, sha256=digest(b"onetwo"))


def test_opened_artifact_is_read_only_and_a_missing_one_is_named(tmp_path):
    store = ArtifactStore(tmp_path)
    store.finish(send(store, "p", b"content"), sha256=digest(b"content"))
    descriptor = store.open(digest(b"content"))
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"x")
    finally:
        os.close(descriptor)
    store.remove(digest(b"content"))
    with pytest.raises(NotFoundError):
        store.open(digest(b"content"))


@pytest.mark.parametrize("size", [1 << 10, 3 << 20])
def test_block_of_many_pieces_is_written_and_hashed_in_order(tmp_path, size):
    store = ArtifactStore(tmp_path)
    content = os.urandom(size)
    pieces = [content[at : at + size // 2000 + 1] for at in range(0, size, size // 2000 + 1)]
    assert len(pieces) > 1000 or size < 2000
    partial = store.open_partial("p")
    store.append(partial, [b"", *pieces[:7]])
    store.append(partial, [bytearray(pieces[7]), *pieces[8:]])
    assert partial.offset == partial.unsynced == size
    store.finish(partial, sha256=digest(content))
    assert store.path_of(digest(content)).read_bytes() == content


@pytest.mark.parametrize("block", [b"x" * 5000, b"x" * (1 << 20)])
def test_block_that_does_not_fit_changes_neither_file_nor_hash(tmp_path, block):
    store = ArtifactStore(tmp_path)
    partial = store.open_partial("p")
    store.append(partial, [b"first"])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(UnavailableError) as caught:
            store.append(partial, [block[:3000], block[3000:]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.code == "storage-full"
    assert (partial.offset, store.received("p")) == (5, 5)
    store.append(partial, [b"second"])
    store.finish(partial, sha256=digest(b"firstsecond"))
