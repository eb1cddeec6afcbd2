# SPDX-License-Identifier: Apache-2.0
"""Applying a patch: the bytes of the overlay, their digest, in one pass."""

from __future__ import annotations

import hashlib
import os

import pytest

from signwright.errors import FormatError
from signwright.model.one_pass import THREADS_FROM
from signwright.model.patch import Patch, Patched, Splice, apply_patch, sealed
from signwright.model.view import BLOCK, BytesView


def replaced(size: int) -> Patch:
    """Head changed, a hole in the middle, a tail added."""
    splices = (Splice(1, 3, b"CHECK"), Splice(size // 2, 7, b""), Splice(size, 0, b"tail" * 1000))
    return Patch("", size, "", size + 2 - 7 + 4000, splices)


@pytest.mark.parametrize("size", [100, BLOCK, THREADS_FROM + 12345])
def test_result_is_that_of_the_overlay(size):
    source, written = BytesView(os.urandom(size)), bytearray()
    patch = replaced(size)
    digest = apply_patch(source, patch, written.extend)
    overlay = Patched(source, patch)
    assert bytes(written) == overlay.read(0, overlay.size)
    assert digest == hashlib.sha256(written).hexdigest() == sealed(source, patch).result_sha256


@pytest.mark.parametrize("size", [100, THREADS_FROM + 12345])
def test_a_writer_that_takes_less_is_asked_again(size):
    source, written = BytesView(os.urandom(size)), bytearray()

    def write(block: memoryview) -> int:
        taken = min(len(block), 70_001)
        written.extend(block[:taken])
        return taken

    digest = apply_patch(source, replaced(size), write)
    assert digest == hashlib.sha256(written).hexdigest()


def test_a_source_that_ends_early_is_an_error_and_not_a_short_result():
    class Short(BytesView):
        def read(self, offset: int, length: int) -> bytes:
            if offset >= 2 * BLOCK:
                raise FormatError("the file became shorter while it was read", offset=offset)
            return super().read(offset, length)

    source = Short(bytes(THREADS_FROM + 1))
    with pytest.raises(FormatError, match="shorter"):
        apply_patch(source, replaced(source.size), len)
