# SPDX-License-Identifier: Apache-2.0
"""A witness that is none: it answers under the real one's name, with a signature of a key that it made up."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from typing import Self

from signwright.cli.demo.loopback import QuietHandler, listen
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.cosignature import WitnessKey
from signwright.transparency.note import COSIGNATURE_V1, NoteSignature, parse_note
from signwright.transparency.signing import SignerKey, cosign
from signwright.transparency.witnessing import AddCheckpoint


class LyingWitness:
    """In place of ``witness`` on ``address``. ``asked``: how often it was."""

    def __init__(self, address: tuple[str, int], witness: WitnessKey) -> None:
        self.asked = 0
        self._witness = witness
        self._forger = SignerKey(witness.name, COSIGNATURE_V1, os.urandom(32))
        self._server = listen(address, _handler(self))

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reply(self, body: bytes) -> bytes:
        """A cosignature line that has everything but the right key."""
        self.asked += 1
        checkpoint = Checkpoint.parse(parse_note(AddCheckpoint.parse(body).checkpoint).text)
        forged = cosign(checkpoint, self._forger, time=datetime.now(UTC))
        return NoteSignature(self._witness.name, self._witness.key.key_id, forged.value).line().encode()


def _handler(witness: LyingWitness) -> type[_Handler]:
    class Handler(_Handler):
        liar = witness

    return Handler


class _Handler(QuietHandler):
    liar: LyingWitness

    def do_POST(self) -> None:
        self.answer(200, self.liar.reply(self.body()), kind="text/plain; charset=utf-8", close=True)
