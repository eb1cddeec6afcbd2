# SPDX-License-Identifier: Apache-2.0
"""Whom the gate's socket hears: the courier in everything, operators when they ask how it is, nobody else."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from signwright.model.framing import Frame
from signwright.signer.channel import Channel
from signwright.signer.gate.console import Reply
from signwright.signer.gate.cycle import Cycle
from signwright.signer.gate.errands import Errands
from signwright.signer.gate.server import MAX_CONNECTIONS, Peers, Server
from signwright.signer.users import Users

OWN = os.getuid()
OTHER = OWN + 1


async def status(_frame: Frame) -> dict[str, object]:
    return {"ok": True, "log": {"size": 7}}


async def custodian_list(_frame: Frame) -> Reply:
    return {"ok": True, "log": "the list"}, ()


@asynccontextmanager
async def gate(folder: Path, peers: Peers | None) -> AsyncIterator[Channel]:
    """A server and one connection to it, by this process's user."""
    path = folder / "gate.sock"
    verbs, console = {"status": status, "halt": status}, {"custodian-list": custodian_list}
    server = Server(cast(Cycle, None), Errands(), verbs=verbs, console=console, requests=4, peers=peers)
    async with await server.listen(path):
        channel = Channel(*await asyncio.open_unix_connection(path))
        try:
            yield channel
        finally:
            await channel.close()
            await server.close()


async def answer(channel: Channel, kind: str) -> object:
    """What comes back, or ``hung up``."""
    try:
        await channel.send({"type": kind, "id": 1})
        async with asyncio.timeout(10):
            return (await channel.receive()).message.get("log", "answered")
    except (EOFError, OSError):
        return "hung up"


def ask(folder: Path, peers: Peers | None, *kinds: str) -> list[object]:
    async def run() -> list[object]:
        async with gate(folder, peers) as channel:
            return [await answer(channel, kind) for kind in kinds]

    return asyncio.run(run())


@pytest.mark.attacks
def test_an_operator_may_ask_and_halt_and_nothing_else(tmp_path: Path) -> None:
    peers = Peers(courier=OTHER, operators=frozenset({OWN}))
    assert ask(tmp_path, peers, "status", "halt", "status") == [{"size": 7}] * 3
    for kind in ("sign", "policy", "blob", "answer", "hub-events"):
        assert ask(tmp_path, peers, kind) == ["hung up"], kind
        assert ask(tmp_path, peers, "status", kind) == [{"size": 7}, "hung up"], kind


@pytest.mark.attacks
def test_a_stranger_is_not_even_told_how_the_gate_is(tmp_path: Path) -> None:
    peers = Peers(courier=OTHER, operators=frozenset({OTHER + 1}))
    assert ask(tmp_path, peers, "status") == ["hung up"]


@pytest.mark.attacks
def test_only_an_operator_is_heard_at_the_custodians_console(tmp_path: Path) -> None:
    assert ask(tmp_path, Peers(courier=OTHER, operators=frozenset({OWN})), "custodian-list") == ["the list"]
    assert ask(tmp_path, None, "custodian-list", "status") == ["the list", {"size": 7}]
    courier = Peers(courier=OWN, operators=frozenset({OTHER}))
    assert ask(tmp_path, courier, "custodian-list") == ["hung up"]
    assert ask(tmp_path, courier, "status", "custodian-list") == [{"size": 7}, "hung up"]


@pytest.mark.attacks
@pytest.mark.skipif(OWN != 0, reason="another user's connections want root")
def test_courier_that_holds_every_connection_keeps_no_operator_from_halting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them once asked how the gate is and says nothing since."""

    def connect_as(user: int) -> socket.socket:
        os.seteuid(user)  # whom SO_PEERCRED names is settled when a socket connects
        try:
            found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            found.connect("gate.sock")
            return found
        finally:
            os.seteuid(OWN)

    async def run() -> object:
        async with gate(tmp_path, Peers(courier=OTHER, operators=frozenset({OWN}))):
            (tmp_path / "gate.sock").chmod(0o666)
            held = []
            for _ in range(2 * MAX_CONNECTIONS):
                one = Channel(*await asyncio.open_unix_connection(sock=connect_as(OTHER)))
                held.append(one)
                await answer(one, "status")
            operator = Channel(*await asyncio.open_unix_connection(sock=connect_as(OWN)))
            try:
                return await answer(operator, "halt")
            finally:
                for channel in (*held, operator):
                    await channel.close()

    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert asyncio.run(run()) == {"size": 7}


def test_the_courier_is_heard_in_everything(tmp_path: Path) -> None:
    assert ask(tmp_path, None, "status", "sign") == [{"size": 7}, "answered"]
    assert ask(tmp_path, Peers(courier=OWN, operators=frozenset()), "sign") == ["answered"]


def test_the_socket_is_the_users_own_unless_the_courier_is_another(tmp_path: Path) -> None:
    async def mode(peers: Peers | None) -> int:
        async with gate(tmp_path, peers):
            return stat.S_IMODE((tmp_path / "gate.sock").stat().st_mode)

    assert asyncio.run(mode(None)) == 0o600
    assert asyncio.run(mode(Peers(courier=OTHER, operators=frozenset({OWN})))) == 0o660


def test_peers_follow_the_settings(tmp_path: Path) -> None:
    users = Users(gate=1, keyholder=2, courier=3, operators=frozenset({0}), keyholder_socket=tmp_path)
    assert [user for user in range(5) if Peers.of(users).hear(user)] == [0, 3]
    assert [user for user in range(5) if Peers.of(users).at_console(user)] == [0]
    assert [user for user in (OWN, OTHER) if Peers.of(None).at_console(user)] == [OWN]
    assert Peers.of(None) == Peers(courier=OWN, operators=frozenset(), alone=True)


def test_server_that_was_closed_hears_nobody_any_more(tmp_path: Path) -> None:
    """Not even for a moment: what it would do for them has nothing to stand on by then."""

    async def run() -> set[asyncio.Task[object]]:
        server = Server(cast(Cycle, None), Errands(), verbs={"status": status}, console={}, requests=4)
        async with await server.listen(tmp_path / "gate.sock"):
            channel = Channel(*await asyncio.open_unix_connection(tmp_path / "gate.sock"))
            assert await answer(channel, "status") == {"size": 7}
            await server.close()
            left = asyncio.all_tasks() - {cast("asyncio.Task[object]", asyncio.current_task())}
            await channel.close()
            return left

    assert asyncio.run(run()) == set()
