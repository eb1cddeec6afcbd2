# SPDX-License-Identifier: Apache-2.0
"""A hub and a courier that lie: one test per lie, zero key operations."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from signwright.model.framing import Frame
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.dsse import Envelope
from signwright.statements.models import Request, SeenCheckpoint, parse_statement
from tests.support.gates import Answer, Courier, GateSite, Release, digest_request, pe_artifact, pe_program, sha256
from tests.support.world import ORIGIN

Lie = Callable[[Release], Awaitable[Frame]]


async def one_approval_of_two(release: Release) -> Frame:
    return await release.sign(approvals=[release.approval("alice")])


async def one_person_twice(release: Release) -> Frame:
    return await release.sign(approvals=[release.approval("alice"), release.approval("alice", comment="again")])


async def approval_signed_by_somebody_else(release: Release) -> Frame:
    forged = release.approval("bob", key=release.site.world.people["alice"])
    return await release.sign(approvals=[release.approval("alice"), forged])


async def approvals_of_another_request(release: Release) -> Frame:
    other = release.make_request()
    words = [release.approval(person, request=other) for person in ("alice", "bob")]
    return await release.sign(approvals=words)


async def edited_request(release: Release) -> Frame:
    payload = release.request.payload.replace(b'"mode":"artifact"', b'"mode":"digest"')
    return await release.sign(request=Envelope(payload, release.request.signatures))


async def request_of_a_credential_that_may_not(release: Release) -> Frame:
    request = release.make_request(key=release.site.world.test_credential)
    words = [release.approval(person, request=request) for person in ("alice", "bob")]
    return await release.sign(request=request, approvals=words)


async def forged_verdict(release: Release) -> Frame:
    forged = release.site.world.scan(release.content, key=release.site.world.gate)
    return await release.sign(evidence=[forged])


async def verdict_on_another_artifact(release: Release) -> Frame:
    return await release.sign(evidence=[release.site.world.scan(b"something harmless")])


async def no_verdict(release: Release) -> Frame:
    return await release.sign(evidence=[])


async def infected_verdict(release: Release) -> Frame:
    return await release.sign(evidence=[release.site.world.scan(release.content, "infected")])


async def unknown_option(release: Release) -> Frame:
    artifact = pe_artifact(release.content).model_copy(update={"options": {"turbo": True}})
    return await _asked(release, artifact)


async def operations_of_another_file(release: Release) -> Frame:
    other = pe_artifact(pe_program(overlay=b"malware"))
    return await _asked(release, other.model_copy(update={"size": len(release.content)}))


async def description_that_no_option_asked_for(release: Release) -> Frame:
    artifact = pe_artifact(release.content)
    operation = artifact.operations[0].model_copy(update={"parameters": {"description": "Notepad"}})
    return await _asked(release, artifact.model_copy(update={"operations": (operation,)}))


async def template_of_another_purpose(release: Release) -> Frame:
    operation = release.site.world.operation(release.content, "cms-detached")
    return await _asked(release, pe_artifact(release.content).model_copy(update={"operations": (operation,)}))


async def digest_mode_for_a_release(release: Release) -> Frame:
    request = release.make_request(mode="digest")
    words = [release.approval(person, request=request) for person in ("alice", "bob")]
    return await release.sign(request=request, approvals=words)


async def _asked(release: Release, artifact: Any) -> Frame:
    request = release.make_request(artifacts=[artifact])
    words = [release.approval(person, request=request) for person in ("alice", "bob")]
    return await release.sign(request=request, approvals=words)


async def swapped_artifact(release: Release) -> Frame:
    release.courier.blobs[sha256(release.content)] = release.content[:-1] + b"\xff"
    return await release.sign()


async def longer_artifact(release: Release) -> Frame:
    release.courier.blobs[sha256(release.content)] = release.content + b"\0" * 100
    return await release.sign()


async def artifact_cut_off(release: Release) -> Frame:
    async def cut(frame: Frame) -> None:
        await release.courier.send_blob(frame, release.content[:-50], size=len(release.content))

    release.courier.lies["fetch"] = cut  # type: ignore[assignment]
    return await release.sign()


async def checkpoint_ahead_of_the_log(release: Release) -> Frame:
    ahead = SeenCheckpoint(origin=ORIGIN, size=1000, root="ab" * 32)
    return await release.sign(approvals=[release.approval("alice", checkpoint=ahead), release.approval("bob")])


async def checkpoint_of_another_tree(release: Release) -> Frame:
    seen = release.site.seen(release.courier)
    fork = SeenCheckpoint(origin=ORIGIN, size=seen.size, root="ab" * 32)
    return await release.sign(approvals=[release.approval("alice", checkpoint=fork), release.approval("bob")])


LIES = [
    (one_approval_of_two, "waiting", "approvals"),
    (one_person_twice, "waiting", "approvals"),
    (approval_signed_by_somebody_else, "waiting", "approvals"),
    (approvals_of_another_request, "waiting", "approvals"),
    (edited_request, "denied", "submitter"),
    (request_of_a_credential_that_may_not, "denied", "submitter"),
    (forged_verdict, "waiting", "scan"),
    (verdict_on_another_artifact, "waiting", "scan"),
    (no_verdict, "waiting", "scan"),
    (infected_verdict, "denied", "scan"),
    (unknown_option, "denied", "option"),
    (operations_of_another_file, "denied", "wrong-operations"),
    (description_that_no_option_asked_for, "denied", "operation-option"),
    (template_of_another_purpose, "denied", "operation-format"),
    (digest_mode_for_a_release, "denied", "mode"),
    (swapped_artifact, "failed", "artifact-mismatch"),
    (longer_artifact, "denied", "artifact-size"),
    (artifact_cut_off, "failed", "artifact-incomplete"),
    (checkpoint_ahead_of_the_log, "failed", "log-rollback"),
    (checkpoint_of_another_tree, "failed", "log-fork"),
]


@pytest.mark.parametrize(("lie", "outcome", "code"), LIES, ids=[lie.__name__ for lie, _, _ in LIES])
def test_lie_uses_no_key(site: GateSite, pool: WorkerPool, lie: Lie, outcome: str, code: str) -> None:
    async def scenario() -> None:
        async with site.run(pool) as (gate, courier):
            size = gate.parts.log.size
            answer = await lie(Release(site, courier))
            assert (answer.message["outcome"], answer.message["code"]) == (outcome, code), answer.message
            assert answer.message["artifacts"] == []
            assert site.keyholder.operations == 0
            assert not site.keyholder.orders
            assert gate.parts.log.size == size, "no intent was logged"

    asyncio.run(scenario())


def _digest(request: Envelope) -> str:
    return parse_statement(request, Request).digest


async def _conflict(_: Frame) -> Answer:
    return Answer(status=409, parts=[b"1000000\n"])


async def _server_error(_: Frame) -> Answer:
    return Answer(status=500, parts=[b"oops"])


async def _garbage(_: Frame) -> Answer:
    return Answer(status=200, parts=[b"\xff\x00 not a note"])


async def _says_no(_: Frame) -> Answer:
    return Answer(ok=False, message="the wire is cut")


async def _hangs(_: Frame) -> None:
    return None


def _old_cosignature(courier: Courier) -> Any:
    """The witness's line for an earlier checkpoint."""
    lines: list[bytes] = []

    async def replay(frame: Frame) -> Answer:
        if not lines:
            lines.append((await courier.honest_witness(frame)).parts[0])
            return Answer(status=500, parts=[b""])
        return Answer(status=200, parts=[lines[0]])

    return replay


WITNESS_LIES = [_conflict, _server_error, _garbage, _says_no, _hangs]


@pytest.mark.parametrize("lie", WITNESS_LIES, ids=lambda lie: lie.__name__)
def test_missing_cosignature_uses_no_key_and_is_logged_as_failed(site: GateSite, lie: Any) -> None:
    site.settings = site.settings.model_copy(
        update={"limits": site.settings.limits.model_copy(update={"witness_seconds": 1})}
    )

    async def scenario() -> None:
        async with site.run() as (gate, courier):
            courier.lies["witness"] = lie
            request = digest_request(site)
            answer = await courier.sign(request)
            assert (answer.message["outcome"], answer.message["code"]) == ("failed", "no-quorum"), answer.message
            assert "w1" in str(answer.message["message"])
            assert site.keyholder.operations == 0
            assert gate.parts.state.open_intents() == []
            courier.lies.clear()
            later = await courier.sign(request)
            assert later.message["outcome"] == "signed", later.message
            assert gate.parts.state.last_attempt(_digest(request)) == 3, "what is signed has no attempt left"
            assert site.keyholder.operations == 1

    asyncio.run(scenario())


def test_replayed_cosignature_of_an_older_checkpoint_uses_no_key(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (_, courier):
            courier.lies["witness"] = _old_cosignature(courier)
            first = await courier.sign(digest_request(site))
            second = await courier.sign(digest_request(site))
            assert [first.message["code"], second.message["code"]] == ["no-quorum", "no-quorum"]
            assert site.keyholder.operations == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("lie", [_server_error, _garbage, _says_no], ids=lambda lie: lie.__name__)
def test_without_a_timestamp_nothing_leaves_the_gate(tmp_path: Path, lie: Any) -> None:
    async def scenario(site: GateSite) -> None:
        async with site.run() as (gate, courier):
            courier.lies["timestamp"] = lie
            request, authorities = digest_request(site), gate.parts.policies.in_force.authorities
            assert authorities is not None
            for attempt in (1, 2, 3):
                answer = await courier.sign(request)
                assert (answer.message["outcome"], answer.message["code"]) == ("failed", "no-timestamp")
                assert (answer.message["artifacts"], len(answer.parts)) == ([], 0)
                assert site.keyholder.operations == attempt
                if attempt == 2:
                    # The authority failed three times and more: nobody is left to ask, and the key is not even used.
                    other = await courier.sign(request)
                    assert (other.message["code"], site.keyholder.operations) == ("no-timestamp", 2)
                    for name in authorities.names:
                        authorities.succeeded(name)
            courier.lies.clear()
            spent = await courier.sign(request)
            assert (spent.message["outcome"], spent.message["code"]) == ("denied", "attempts-used")
            assert site.keyholder.operations == 3
            assert gate.parts.state.open_intents() == []

    site = GateSite(tmp_path, settings_changes={"limits": {"timestamp_seconds": 1}})
    try:
        asyncio.run(scenario(site))
    finally:
        site.close()


def test_authority_that_fails_for_a_moment_costs_no_attempt(site: GateSite) -> None:
    """The value stands already: it is the authority that is asked again, and not the key."""

    async def scenario() -> None:
        async with site.run() as (gate, courier):
            asked: list[Frame] = []

            async def at_the_third_time(frame: Frame) -> Answer:
                asked.append(frame)
                return await (_server_error(frame) if len(asked) < 3 else courier.honest_timestamp(frame))

            courier.lies["timestamp"], before = at_the_third_time, gate.parts.log.size
            answer = await courier.sign(digest_request(site))
            assert (answer.message["outcome"], len(asked)) == ("signed", 3)
            assert (site.keyholder.operations, gate.parts.log.size) == (1, before + 3), "start, intent, result"
            assert len({frame.parts[0] for frame in asked}) == 3, "each query has a nonce of its own"

    asyncio.run(scenario())


def test_token_for_another_signature_is_refused(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (_, courier):
            queries: list[Frame] = []

            async def other_imprint(frame: Frame) -> Answer:
                queries.append(frame)
                return await courier.honest_timestamp(queries[0])

            courier.lies["timestamp"] = other_imprint
            assert (await courier.sign(digest_request(site))).message["outcome"] == "signed"
            answer = await courier.sign(digest_request(site))
            assert (answer.message["outcome"], answer.message["code"]) == ("failed", "no-timestamp")

    asyncio.run(scenario())


def test_forged_decision_has_no_place_to_stand(site: GateSite) -> None:
    """There is no message that says what was decided: whatever a hub adds to a request is not read."""

    async def scenario() -> None:
        async with site.run() as (_, courier):
            release = Release(site, courier)
            message: dict[str, object] = {"type": "sign", "request": 0, "approvals": [], "evidence": []}
            lies = {"decision": "allow", "outcome": "allow", "approved": True, "state": "authorized"}
            answer = await courier.call(message | lies, [release.request.encode()])
            assert answer.message["outcome"] == "waiting"
            assert site.keyholder.operations == 0

    asyncio.run(scenario())


def test_refusal_leaves_one_leaf_with_codes_however_often_it_is_repeated(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (gate, courier):
            release = Release(site, courier)
            for _ in range(5):
                await release.sign(evidence=[site.world.scan(release.content, "infected")])
            before = gate.parts.log.size
            await gate.parts.denials.flush()
            await release.sign(evidence=[site.world.scan(release.content, "infected")])
            await gate.parts.denials.flush()
            assert gate.parts.log.size == before + 1
            assert site.keyholder.operations == 0

    asyncio.run(scenario())
