# SPDX-License-Identifier: Apache-2.0
"""A witness that is ahead of the gate's log may say so late: it is asked until it has answered."""

from __future__ import annotations

import asyncio
import socket

import pytest

from signwright.errors import ConfigurationError
from signwright.model.framing import Frame
from signwright.signer.channel import Channel
from signwright.signer.gate.ahead import WitnessesAhead
from signwright.signer.gate.errands import Errands
from signwright.transparency.note import ED25519
from signwright.transparency.signing import SignerKey
from tests.support.world import ORIGIN, World


def test_witness_that_did_not_answer_at_first_is_asked_again_and_ends_the_gate_when_it_is_ahead() -> None:
    """At once, and not when the first patience is over: nothing has left the house so far."""
    sizes = [Frame({"ok": True, "status": 503}), Frame({"ok": True, "status": 409}, (b"1000000\n",))]

    async def scenario() -> None:
        world, errands = World(), Errands()
        ours, theirs = socket.socketpair()
        channel = Channel(*await asyncio.open_unix_connection(sock=ours))
        courier = Channel(*await asyncio.open_unix_connection(sock=theirs))
        errands.connect(channel)

        async def carry() -> None:
            while True:
                asked = (await courier.receive()).message
                answer = sizes.pop(0) if asked["name"] == "witness" else Frame({"ok": True, "status": 404})
                errands.answered(Frame({**answer.message, "errand": asked["errand"]}, answer.parts))

        carrying = asyncio.create_task(carry())
        signer = SignerKey(ORIGIN, ED25519, world.log_private.private_bytes_raw())
        ahead = WitnessesAhead(
            errands,
            world.services,
            lambda: signer,
            lambda _size, _root: None,
            lambda: 1,
            size=1,
            root=bytes(32),
            seconds=20,
        )
        try:
            with pytest.raises(ConfigurationError) as refused:
                await asyncio.wait_for(ahead.run(), timeout=20)
            assert refused.value.code == "log-behind-witness"
            assert sizes == []
        finally:
            carrying.cancel()
            await asyncio.gather(carrying, return_exceptions=True)
            await channel.close()
            await courier.close()

    asyncio.run(scenario())
