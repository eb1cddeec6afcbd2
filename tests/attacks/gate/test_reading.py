# SPDX-License-Identifier: Apache-2.0
"""A gate and a keyholder that reads the log: in pieces, from where it is, and with the newest policy at hand."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from signwright.model.framing import Frame
from signwright.model.times import format_time
from signwright.signer.gate.keyholder import _LEAVES
from signwright.statements.dsse import parse_envelope, statement_digest
from signwright.statements.models import Halt, Resume
from signwright.statements.writing import statement_payload
from tests.support import leaves
from tests.support.gates import Answer, CountingKeyholder, GateSite, digest_request
from tests.support.world import sign_ssh


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GateSite]:
    found = GateSite(tmp_path)
    try:
        yield found
    finally:
        found.close()


def another_process(site: GateSite) -> CountingKeyholder:
    """One that remembers nothing, as if its state had been put back to the beginning."""
    site.keyholder = CountingKeyholder(site.world, site.root_sha256, now=site.now)
    return site.keyholder


def test_keyholder_that_forgot_everything_reads_a_long_log_in_pieces_and_knows_each_attempt(site: GateSite) -> None:
    request = digest_request(site)

    async def first() -> None:
        async with site.run() as (gate, courier):
            assert (await courier.sign(request)).message["outcome"] == "signed"
            await asyncio.gather(*(gate.parts.log.append(leaves.beat().encode()) for _ in range(2 * _LEAVES)))

    async def second(keyholder: CountingKeyholder) -> None:
        async with site.run(policy=False) as (gate, courier):
            assert (await courier.sign(digest_request(site, b"another"))).message["outcome"] == "signed"
            assert gate.parts.log.size > 2 * _LEAVES
            assert keyholder.standing.status()["read"] > 2 * _LEAVES
            (before,) = [row for row in keyholder.learned if row.kind == "intent"]
            assert keyholder.attempts(before.subject, 0) == 1

    asyncio.run(first())
    asyncio.run(second(another_process(site)))


def test_policy_that_was_logged_and_never_handed_over_is_in_force_before_the_log_is_read(
    site: GateSite,
) -> None:
    """The gate died in between. A keyholder that reads of it would sign nothing under the one before."""
    newer = site.world.policy_parts()

    async def first() -> None:
        async with site.run() as (gate, _):
            root, policy, documents, _pinned = newer
            policies = gate.parts.policies
            opened = policies._verified(root.encode(), policy.encode(), documents)
            await policies._append(opened, gate.parts.log)

    async def second(keyholder: CountingKeyholder) -> None:
        async with site.run(policy=False) as (gate, courier):
            assert gate.parts.policies.in_force.policy.version == 1
            answer = await courier.sign(digest_request(site))
            assert answer.message["outcome"] == "signed", answer.message
            assert keyholder.policy is not None
            assert keyholder.policy.version == gate.parts.policies.in_force.policy.version == 2

    asyncio.run(first())
    asyncio.run(second(another_process(site)))


def test_start_without_cosignatures_goes_on_where_it_was(site: GateSite) -> None:
    """Its leaf is logged again, and the keyholder, which has read the first one, stands at that."""

    async def no_witness(_: Frame) -> Answer:
        return Answer(ok=False, message="nobody answers")

    async def scenario() -> None:
        async with site.run() as (gate, courier):
            courier.lies["witness"] = no_witness
            assert (await courier.sign(digest_request(site))).message["outcome"] != "signed"
            assert not gate.parts.keyholder.started
            courier.lies.clear()
            assert (await courier.sign(digest_request(site, b"another"))).message["outcome"] == "signed"
            assert site.keyholder.operations == 1
            starts = [at for at, leaf in enumerate(gate.parts.log.leaves(0, gate.parts.log.size)) if b'"start"' in leaf]
            assert len(starts) == 2
            assert site.keyholder.first_leaf() in starts

    asyncio.run(scenario())


def test_resume_is_shown_to_a_keyholder_that_forgot_it_and_kept_again_after_a_recovery(site: GateSite) -> None:
    """The log tells of the halt, and only the keepers' statement ends it."""

    def said(name: str, statement: Halt | Resume) -> bytes:
        payload = statement_payload(statement, [("policy-root", site.root_sha256)])
        return sign_ssh(payload, site.world.keeper, name).encode()

    now = format_time(site.world.now)
    halt = said("halt", Halt(reason="drill", nonce="00" * 16, created=now))
    digest = statement_digest("halt", parse_envelope(halt))
    resume = said("resume", Resume(halts=(digest,), policy_version=2, reason="over", created=now))

    async def first() -> None:
        async with site.run() as (_, courier):
            for kind, word in (("halt", halt), ("resume", resume)):
                assert (await courier.call({"type": kind}, [word])).message["ok"]
            assert (await courier.policy(site.world.policy_parts())).message["ok"]

    async def signs(content: bytes, *, shown: bool) -> object:
        another_process(site)
        async with site.run(policy=False) as (_, courier):
            if shown:
                assert (await courier.call({"type": "resume"}, [resume])).message["ok"]
            return (await courier.sign(digest_request(site, content))).message.get("code")

    asyncio.run(first())
    assert asyncio.run(signs(b"one", shown=False)) != "halted", "the gate shows it after each start"
    with closing(sqlite3.connect(site.settings.database)) as database, database:
        database.execute("UPDATE words SET content = X'' WHERE kind IN ('halt', 'resume')")
    assert asyncio.run(signs(b"two", shown=False)) == "halted"
    assert asyncio.run(signs(b"three", shown=True)) != "halted"
    assert asyncio.run(signs(b"four", shown=False)) != "halted", "it was kept"
