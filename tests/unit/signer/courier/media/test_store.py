# SPDX-License-Identifier: Apache-2.0
"""The media folder: a bundle is there whole or not at all."""

from __future__ import annotations

import os

import pytest

from signwright.errors import LimitError, MalformedError, SignwrightError, VerificationError
from signwright.signer.courier.media import index
from signwright.signer.courier.media.store import MediaStore, log_path
from tests.support.bundles import (
    blobs_in,
    bundle,
    job_of,
    land,
    leftovers,
    outside_bundle,
    sample,
    sha256,
)


@pytest.fixture
def store(tmp_path) -> MediaStore:
    return MediaStore(tmp_path / "media")


def test_a_sound_bundle_is_taken(store):
    landed = land(store, sample())
    assert sha256(b"program") in blobs_in(store)
    assert store.read(sha256(b"program"), "artifact") == b"program"
    assert landed.index.jobs[0].artifacts == (sha256(b"program"),)


def test_of_a_bundle_that_ends_anywhere_nothing_is_left(store):
    content = sample()
    for length in range(0, len(content), 3):
        with pytest.raises(SignwrightError):
            land(store, content[:length])
    assert blobs_in(store) == set()
    assert leftovers(store) == []


def test_of_a_bundle_whose_last_blob_is_wrong_nothing_is_left(store):
    content = bytearray(sample())
    content[-1] ^= 1
    with pytest.raises(VerificationError):
        land(store, bytes(content))
    assert blobs_in(store) == set()


@pytest.mark.parametrize("count", [0, 2])
def test_there_is_one_index(store, count):
    blobs = [("index", b'{"published":%d}' % number) for number in range(count)]
    with pytest.raises(MalformedError) as caught:
        land(store, bundle(blobs))
    assert caught.value.code == "bad-index"


def test_a_blob_that_the_index_does_not_name_is_refused(store):
    with pytest.raises(MalformedError) as caught:
        land(store, bundle([("index", b"{}"), ("artifact", b"stowaway")]))
    assert "does not name" in caught.value.message
    assert blobs_in(store) == set()


def test_a_blob_that_the_index_names_and_that_is_not_there_is_refused(store):
    made = index.OutsideIndex(jobs=(job_of(b"request"),))
    with pytest.raises(MalformedError) as caught:
        land(store, bundle([("index", made.model_dump_json().encode())]))
    assert "not in it" in caught.value.message


def test_a_blob_under_another_role_than_the_index_names_is_refused(store):
    made = index.OutsideIndex(jobs=(job_of(b"request"),))
    with pytest.raises(MalformedError):
        land(store, bundle([("index", made.model_dump_json().encode()), ("approval", b"request")]))


def test_one_request_stands_once_in_an_index(store):
    made = index.OutsideIndex(jobs=(job_of(b"request"), job_of(b"request", approvals=[b"yes"])))
    with pytest.raises(MalformedError) as caught:
        land(store, outside_bundle(made, [b"request", b"yes"]))
    assert "twice" in caught.value.message


def test_the_index_of_the_other_side_is_refused(store):
    with pytest.raises(MalformedError):
        land(store, bundle([("index", index.VaultIndex().model_dump_json().encode())]))


def test_a_bundle_that_does_not_fit_on_the_disk_is_refused_before_it_is_read(store):
    from signwright.signer.courier.media.bundle import Row, encode_head
    from signwright.statements.writing import public_text
    from tests.support.bundles import OUTSIDE, TOTAL, manifest_of, read_of

    rows = tuple(Row(role="artifact", sha256=f"{number:064x}", size=8 << 30) for number in range(1 << 13))
    head = encode_head(manifest_of([]).model_copy(update={"rows": rows}), OUTSIDE)
    with pytest.raises(LimitError) as caught:
        store.land(read_of(head), side="outside", key=public_text(OUTSIDE), total=1 << 62, watch=lambda *_: None)
    assert caught.value.code == "no-space"
    assert TOTAL < 1 << 62


def test_what_was_changed_on_the_disk_is_not_used(store):
    digest = store.put(b"request")
    (store.folder / "blobs" / digest).write_bytes(b"another")
    with pytest.raises(VerificationError):
        store.read(digest, "request")


@pytest.mark.parametrize("digest", ["../outside.json", "a" * 63, "A" * 64, ""])
def test_only_a_digest_leads_to_a_blob(store, digest):
    with pytest.raises(MalformedError):
        store.has(digest)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "tile/0/../../x", "checkpoint/x", ""])
def test_only_files_of_a_log_are_kept_as_such(store, path):
    with pytest.raises(MalformedError):
        store.write_log(path, b"x")


def test_of_a_log_only_what_the_hub_lacks_goes_out_and_the_checkpoint_last(store):
    for path in ("tile/0/000", "tile/entries/000", "tile/0/001.p/4", "tile/0/001.p/9", "tile/1/000.p/1", "checkpoint"):
        store.write_log(path, path.encode())
    files, complete = store.log_files(0, most=100)
    assert [log_path(file) for file in files] == [
        "tile/0/000",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/0/001.p/9",
        "checkpoint",
    ]
    assert complete == 256 + 9
    files, complete = store.log_files(256, most=100)
    assert [log_path(file) for file in files] == ["tile/0/001.p/9", "checkpoint"]


def test_a_log_of_too_many_files_goes_out_in_several_bundles(store):
    for number in range(4):
        store.write_log(f"tile/0/{number:03}", b"t%d" % number)
        store.write_log(f"tile/entries/{number:03}", b"e%d" % number)
    store.write_log("checkpoint", b"note")
    published, seen = 0, []
    while "checkpoint" not in seen:
        files, published = store.log_files(published, most=3)
        seen += [log_path(file) for file in files]
        assert len(seen) < 30
    assert {f"tile/{level}/{number:03}" for level in ("0", "entries") for number in range(4)} <= set(seen)
    assert published == 4 * 256


def test_what_a_killed_courier_left_is_removed(tmp_path):
    MediaStore(tmp_path / "media")
    (tmp_path / "media" / "incoming" / "half").write_bytes(b"half")
    assert leftovers(MediaStore(tmp_path / "media")) == []


def test_the_folder_is_private(store):
    assert os.stat(store.folder).st_mode & 0o077 == 0
