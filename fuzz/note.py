# SPDX-License-Identifier: Apache-2.0
"""The log's texts: notes, checkpoints, proofs, witness calls, bundles. What is accepted is in its one written form."""

from __future__ import annotations

from signwright.errors import SignwrightError
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.note import VerifierKey, parse_note
from signwright.transparency.proof import TlogProof
from signwright.transparency.tiles import Tile, bundle_entry, parse_bundle
from signwright.transparency.witnessing import AddCheckpoint, parse_size

WIDTHS = (1, 2, 255, 256)


def one_input(data: bytes) -> None:
    for attempt in (_note, _checkpoint, _proof, _call, _bundle, _key, _path, parse_size):
        try:
            attempt(data)
        except SignwrightError:
            continue


def _note(data: bytes) -> None:
    Checkpoint.parse(parse_note(data).text)


def _checkpoint(data: bytes) -> None:
    assert Checkpoint.parse(data).text() == data


def _proof(data: bytes) -> None:
    proof = TlogProof.parse(data)
    assert TlogProof.parse(proof.encode()) == proof


def _call(data: bytes) -> None:
    call = AddCheckpoint.parse(data)
    assert AddCheckpoint.parse(call.encode()) == call


def _bundle(data: bytes) -> None:
    for width in WIDTHS:
        try:
            entries = parse_bundle(data, width)
        except SignwrightError:
            continue
        assert b"".join(map(bundle_entry, entries)) == data


def _key(data: bytes) -> None:
    key = VerifierKey.parse(data.decode("utf-8", errors="replace"))
    assert VerifierKey.parse(str(key)) == key


def _path(data: bytes) -> None:
    text = data.decode("utf-8", errors="replace")
    assert Tile.parse(text).path == text
