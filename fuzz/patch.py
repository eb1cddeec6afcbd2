# SPDX-License-Identifier: Apache-2.0
"""Patches: whatever is accepted is in its one written form and can be laid over a source of its size."""

from __future__ import annotations

from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView

MAX_SOURCE = 1 << 20


def one_input(data: bytes) -> None:
    patch = Patch.decode(data)
    assert patch.encode() == data
    if patch.source_size <= MAX_SOURCE:
        patched = Patched(BytesView(bytes(patch.source_size)), patch)
        assert patched.size == patch.result_size
        assert len(patched.read(0, patched.size)) == patched.size
