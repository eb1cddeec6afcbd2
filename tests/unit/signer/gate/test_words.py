# SPDX-License-Identifier: Apache-2.0
"""Keepers' words in a state that was rebuilt from the log, which has their digests and not what they say."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

from signwright.model.operation import Strict
from signwright.model.times import format_time
from signwright.statements.dsse import Envelope
from signwright.statements.models import Halt, Resume
from signwright.statements.writing import statement_payload
from signwright.transparency.leaf import ResumeLeaf, parse_leaf
from tests.support.gates import Courier, GateSite
from tests.support.world import sign_ssh


def rebuilt(site: GateSite) -> None:
    """As `signwright.signer.gate.rebuild` writes keepers' words."""
    with closing(sqlite3.connect(site.settings.database)) as connection:
        connection.execute("UPDATE words SET content = x''")
        connection.commit()


async def says(courier: Courier, kind: str, envelope: Envelope) -> str:
    answer = await courier.call({"type": kind}, [envelope.encode()])
    return "ok" if answer.message["ok"] else str(answer.message["code"])


def word(site: GateSite, kind: str, said: Strict) -> Envelope:
    return sign_ssh(statement_payload(said, [("policy-root", site.root_sha256)]), site.world.keeper, kind)


def test_freshness_statement_that_a_rebuilt_state_lacks_is_wanted_again_and_then_kept(site: GateSite) -> None:
    statement = site.world.freshness(7, root_sha256=site.root_sha256)
    another = site.world.freshness(7, root_sha256=site.root_sha256, revoked_people=("alice",))

    async def first() -> None:
        async with site.run() as (_, courier):
            assert await says(courier, "freshness", statement) == "ok"

    async def without() -> None:
        async with site.run(policy=False) as (gate, courier):
            assert gate.parts.words.number == 7
            assert gate.parts.words.freshness() is None
            assert await says(courier, "freshness", another) == "freshness-fork"
            assert gate.parts.words.freshness() is None
            assert await says(courier, "freshness", statement) == "ok"

    async def again() -> None:
        async with site.run(policy=False) as (gate, _):
            held = gate.parts.words.freshness()
            assert held is not None
            assert held[1] == statement.encode()

    asyncio.run(first())
    rebuilt(site)
    asyncio.run(without())
    asyncio.run(again())


def test_resume_that_a_rebuilt_state_lacks_is_kept_when_it_comes_again(site: GateSite) -> None:
    now = format_time(site.world.now)
    halt = word(site, "halt", Halt(reason="drill", nonce="ab" * 16, created=now))

    def resume(halts: list[str]) -> Envelope:
        return word(site, "resume", Resume(halts=tuple(halts), policy_version=2, reason="over", created=now))

    async def first() -> Envelope:
        async with site.run() as (gate, courier):
            assert await says(courier, "halt", halt) == "ok"
            statement = resume(gate.parts.words.halts())
            assert await says(courier, "resume", statement) == "ok"
            return statement

    async def again(statement: Envelope) -> None:
        async with site.run(policy=False) as (gate, courier):
            assert await says(courier, "resume", statement) == "ok"
            (stored,) = gate.parts.state.words("resume")
            assert stored.content == statement.encode()
            leaves = map(parse_leaf, gate.parts.log.leaves(0, gate.parts.log.size))
            assert sum(isinstance(leaf, ResumeLeaf) for leaf in leaves) == 1, "it stood in the log already"

    statement = asyncio.run(first())
    rebuilt(site)
    asyncio.run(again(statement))
