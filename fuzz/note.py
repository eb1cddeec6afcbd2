# SPDX-License-Identifier: Apache-2.0
"""The log's texts: notes, checkpoints, keys, messages of witnesses, tile paths and bundles."""

from __future__ import annotations

from collections.abc import Callable

from signwright.errors import LimitError, MalformedError, VerificationError
from signwright.transparency.checkpoint import Checkpoint, verify_checkpoint
from signwright.transparency.cosignature import LogTrust, Quorum, WitnessKey
from signwright.transparency.note import VerifierKey, parse_note
from signwright.transparency.tiles import Tile, bundle_entry, parse_bundle, split_tile
from signwright.transparency.witnessing import AddCheckpoint, parse_answer, parse_size

KEY = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
WITNESS = WitnessKey("witness.example/w1", bytes(range(32)), "somebody", outside=True)
WIDTHS = (1, 2, 255, 256)
TRUST = LogTrust("log.example/fuzz", (KEY,), Quorum((WITNESS,), outside=1, local=0))


def one_input(data: bytes) -> None:
    """Every reader of this area sees the input; one that accepts a written form must write the same."""
    text = data.decode("utf-8", errors="replace")
    readers: tuple[Callable[[], object], ...] = (
        lambda: _same(parse_note(data).encode(), data),
        lambda: verify_checkpoint(data, origin=TRUST.origin, keys=TRUST.keys),
        lambda: TRUST.verify(data),
        lambda: _same(AddCheckpoint.parse(data).encode(), data),
        lambda: parse_answer(data, checkpoint=data, witness=WITNESS),
        lambda: parse_size(data),
        lambda: _same(Checkpoint.parse(data).text(), data),
        *(lambda width=width: _bundle(data, width) for width in WIDTHS),
        *(lambda width=width: _same(b"".join(split_tile(data, width)), data) for width in WIDTHS),
        lambda: _same(str(VerifierKey.parse(text)).encode(), data),
        lambda: _same(Tile.parse(text).path.encode(), data),
    )
    for read in readers:
        try:
            read()
        except (MalformedError, LimitError, VerificationError):
            pass


def _bundle(data: bytes, width: int) -> None:
    _same(b"".join(bundle_entry(entry) for entry in parse_bundle(data, width)), data)


def _same(written: bytes, read: bytes) -> None:
    if written != read:
        raise AssertionError(f"{read!r} was read, {written!r} was written")
