# SPDX-License-Identifier: Apache-2.0
"""The real zygote in the signer's environment: prepare, embed and read in sandboxed children."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from signwright.errors import FormatError, UsageError
from signwright.formats.base import Prepared
from signwright.formats.pe import PeFormat, PeOptions
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView, blocks
from signwright.readers.pe import PeReader
from signwright.signer.worker.client import Workers, format_workers
from tests.support.pe_builder import Pe, envelope_for, identity
from tests.support.processes import pid_is_alive
from tests.support.workers import SHORT, worker_environment

pytestmark = pytest.mark.e2e

SOURCE = Pe(overlay=b"overlay").build()


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    made = format_workers(environment=worker_environment(), limits=SHORT)
    with made.pool:
        yield made


@contextmanager
def read_only(content: bytes) -> Iterator[int]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        descriptor = os.open(file.name, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def prepared(workers: Workers, descriptor: int, **options: object) -> Prepared:
    return workers.prepare(descriptor, format_name="pe", options=options, chain=identity().chain)


def result_of(content: bytes, patch) -> bytes:
    view = Patched(BytesView(content), patch)
    return b"".join(blocks(view, 0, view.size))


def test_a_worker_prepares_what_the_format_prepares(workers: Workers) -> None:
    with read_only(SOURCE) as descriptor:
        found = prepared(workers, descriptor, digest="sha384")
    assert found == PeFormat().prepare(BytesView(SOURCE), identity().chain, PeOptions(digest="sha384"))


def test_a_worker_embeds_what_the_format_embeds_and_reads_it_as_a_stranger(workers: Workers) -> None:
    with read_only(SOURCE) as descriptor:
        found = prepared(workers, descriptor)
        envelopes = [envelope_for(found, identity())]
        patch = workers.embed(descriptor, prepared=found, envelopes=envelopes)
        reading = workers.read_result(descriptor, reader="pe", patch=patch)
        source = workers.read_source(descriptor, reader="pe", kept=True)
    assert patch == sealed(BytesView(SOURCE), PeFormat().embed(found, envelopes))
    result = result_of(SOURCE, patch)
    assert reading.result == PeReader().read(BytesView(result))
    assert source.signatures == ()
    assert source.stripped_sha256 == reading.result.stripped_sha256
    assert (reading.sha256, reading.size) == (hashlib.sha256(result).hexdigest(), len(result))
    assert patch.result_sha256 == reading.sha256


def test_a_second_wave_works_over_the_first_patch_and_gives_one(workers: Workers) -> None:
    with read_only(SOURCE) as descriptor:
        first = prepared(workers, descriptor)
        once = workers.embed(descriptor, prepared=first, envelopes=[envelope_for(first, identity())])
        options = {"existing": "append"}
        second = workers.prepare(descriptor, format_name="pe", options=options, chain=identity().chain, patch=once)
        assert second.source_sha256 == once.result_sha256
        envelopes = [envelope_for(second, identity())]
        twice = workers.embed(descriptor, prepared=second, envelopes=envelopes, patch=once)
        reading = workers.read_result(descriptor, reader="pe", patch=twice)
    assert twice.source_sha256 == hashlib.sha256(SOURCE).hexdigest()
    assert len(reading.result.signatures) == 2
    assert reading.result == PeReader().read(BytesView(result_of(SOURCE, twice)))


def test_a_signed_file_is_read_as_it_is(workers: Workers) -> None:
    with read_only(SOURCE) as descriptor:
        reading = workers.read(descriptor, reader="pe")
        inspection = workers.inspect(descriptor)
    assert reading.result == PeReader().read(BytesView(SOURCE))
    assert "pe" in inspection.formats
    assert "pe" in inspection.readers
    assert (inspection.sha256, inspection.size) == (hashlib.sha256(SOURCE).hexdigest(), len(SOURCE))


def test_a_file_that_is_no_pe_is_a_format_error(workers: Workers) -> None:
    with read_only(b"MZ" + bytes(50)) as descriptor, pytest.raises(FormatError) as caught:
        prepared(workers, descriptor)
    assert not caught.value.code.startswith("worker-")


@pytest.mark.parametrize("options", [{"no_such_option": True}, {"digest": "sha1"}, {"digest": 7}])
def test_an_option_that_the_format_does_not_have_is_refused(workers: Workers, options: dict[str, object]) -> None:
    with read_only(SOURCE) as descriptor, pytest.raises(UsageError) as caught:
        prepared(workers, descriptor, **options)
    assert caught.value.code == "bad-options"
    assert next(iter(options)) in caught.value.message


def test_an_unknown_format_is_refused(workers: Workers) -> None:
    with read_only(SOURCE) as descriptor, pytest.raises(UsageError) as caught:
        workers.prepare(descriptor, format_name="no-such", options={})
    assert caught.value.code == "unknown-format"


def test_a_patch_for_other_bytes_is_refused(workers: Workers) -> None:
    with read_only(SOURCE) as descriptor:
        found = prepared(workers, descriptor)
        patch = workers.embed(descriptor, prepared=found, envelopes=[envelope_for(found, identity())])
    with read_only(SOURCE + b"12345678") as other, pytest.raises(Exception, match="made for") as caught:
        workers.read_result(other, reader="pe", patch=patch)
    assert caught.value.code == "patch-mismatch"


def test_the_zygote_runs_in_the_signers_environment_only(workers: Workers) -> None:
    process = workers.pool.process
    maps = Path(f"/proc/{process}/maps").read_text()
    assert str(worker_environment()) in maps
    assert pid_is_alive(process)
    command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    assert command[1:3] == [b"-I", b"-S"]
