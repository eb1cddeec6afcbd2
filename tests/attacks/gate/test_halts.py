# SPDX-License-Identifier: Apache-2.0
"""Halts by the hundred from one panic key, and a halt that the gate could not record at first."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.model.times import format_time
from signwright.signer.gate.bootstrap import Gate
from signwright.signer.gate.state import State
from signwright.statements.models import Halt, Resume
from signwright.statements.writing import statement_payload
from tests.support.gates import Courier, GateSite, digest_request, organisation
from tests.support.keyholders import CountingKeyholder
from tests.support.world import sign_ssh

FLOOD = 40


def halt(site: GateSite, key: Ed25519PrivateKey) -> bytes:
    said = Halt(reason="drill", nonce=secrets.token_hex(16), created=format_time(site.world.now))
    return sign_ssh(statement_payload(said, [("policy-root", site.root_sha256)]), key, "halt").encode()


async def gives(courier: Courier, content: bytes) -> dict[str, Any]:
    return (await courier.call({"type": "halt"}, [content])).message


def run(site: GateSite, work: Callable[[Gate, Courier], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        async with site.run() as (gate, courier):
            await work(gate, courier)

    asyncio.run(scenario())


def test_flood_of_halts_by_one_key_fills_no_log_and_one_resume_names_them_all(site: GateSite) -> None:
    async def work(gate: Gate, courier: Courier) -> None:
        before = gate.parts.log.size
        answers = [await gives(courier, halt(site, site.world.keeper)) for _ in range(FLOOD)]
        assert answers[0]["ok"]
        assert answers[-1]["code"] == "halted-enough"
        taken = sum(answer["ok"] for answer in answers)
        assert gate.parts.log.size - before <= taken < FLOOD
        halts = (await courier.call({"type": "status"})).message["halts"]
        assert len(halts) == taken
        assert set(halts) == set(site.keyholder.rows)
        said = Resume(halts=tuple(halts), policy_version=2, reason="over", created=format_time(site.world.now))
        resume = sign_ssh(
            statement_payload(said, [("policy-root", site.root_sha256)]), site.world.keeper, "resume"
        ).encode()
        assert (await courier.call({"type": "resume"}, [resume])).message["ok"]
        assert (await courier.policy(site.world.policy_parts())).message["ok"]
        assert (await courier.call({"type": "status"})).message["halts"] == []

    run(site, work)


def test_flood_by_one_key_keeps_no_other_key_from_halting(tmp_path: Path) -> None:
    another = Ed25519PrivateKey.generate()
    site = GateSite(tmp_path, world=organisation(panic=(another,)))

    async def work(gate: Gate, courier: Courier) -> None:
        del gate
        for _ in range(FLOOD):
            await gives(courier, halt(site, another))
        before = len(site.keyholder.rows)
        assert (await gives(courier, halt(site, site.world.keeper)))["ok"]
        assert len(site.keyholder.rows) == before + 1

    try:
        run(site, work)
    finally:
        site.close()


def test_halt_that_could_not_be_recorded_is_recorded_when_it_comes_again(site: GateSite) -> None:
    """The log's disk was full for a moment: the one who halts is told so, tries again, and must not be told a lie."""

    async def work(gate: Gate, courier: Courier) -> None:
        content = halt(site, site.world.keeper)
        site.keyholder.deaf = True
        assert not (await gives(courier, content))["ok"]
        assert len((await courier.call({"type": "status"})).message["halts"]) == 1  # nothing is signed meanwhile
        site.keyholder.deaf = False
        assert (await gives(courier, content))["ok"]
        assert len(site.keyholder.rows) == 1

    run(site, work)
    state = State(site.settings.database)
    try:
        assert [word.content != b"" for word in state.words("halt")] == [True]
    finally:
        state.close()


def test_halts_that_a_resume_names_count_no_longer_for_their_key(site: GateSite) -> None:
    """Although they are over only with the policy that it names."""

    async def work(gate: Gate, courier: Courier) -> None:
        del gate
        while (await gives(courier, halt(site, site.world.keeper)))["ok"]:
            pass
        halts = (await courier.call({"type": "status"})).message["halts"]
        assert isinstance(halts, list)
        said = Resume(halts=tuple(halts), policy_version=2, reason="over", created=format_time(site.world.now))
        payload = statement_payload(said, [("policy-root", site.root_sha256)])
        resume = sign_ssh(payload, site.world.keeper, "resume").encode()
        assert (await courier.call({"type": "resume"}, [resume])).message["ok"]
        assert (await courier.call({"type": "status"})).message["halts"] == halts
        assert (await gives(courier, halt(site, site.world.keeper)))["ok"]

    run(site, work)


def test_keyholder_that_forgot_a_halt_is_told_of_it_at_the_start(site: GateSite) -> None:
    async def halted(gate: Gate, courier: Courier) -> None:
        del gate
        assert (await gives(courier, halt(site, site.world.keeper)))["ok"]

    run(site, halted)
    known = dict(site.keyholder.rows)
    site.keyholder = CountingKeyholder(site.world, site.root_sha256, now=site.now)

    async def again() -> None:
        async with site.run(policy=False):
            assert site.keyholder.rows.keys() == known.keys()

    asyncio.run(again())


def test_resume_reaches_the_keyholder_too(site: GateSite) -> None:
    async def work(gate: Gate, courier: Courier) -> None:
        del gate
        assert (await gives(courier, halt(site, site.world.keeper)))["ok"]
        (digest,) = site.keyholder.rows
        said = Resume(halts=(digest,), policy_version=2, reason="over", created=format_time(site.world.now))
        payload = statement_payload(said, [("policy-root", site.root_sha256)])
        resume = sign_ssh(payload, site.world.keeper, "resume").encode()
        assert (await courier.call({"type": "resume"}, [resume])).message["ok"]
        assert site.keyholder.rows[digest][1] == 2
        assert (await courier.policy(site.world.policy_parts())).message["ok"]
        assert (await courier.sign(digest_request(site))).message["outcome"] == "signed"

    run(site, work)
