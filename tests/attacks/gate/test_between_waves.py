# SPDX-License-Identifier: Apache-2.0
"""What happens after the first wave of a request and before its last one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from signwright.client.alarms.base import Site
from signwright.client.members import reader_of
from signwright.client.monitoring import Monitor
from signwright.client.trust import TrustFile
from signwright.client.verify import Check, Evidence, verify
from signwright.model.framing import Frame
from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView
from signwright.policy.documents import Inside
from signwright.signer.gate import derive
from signwright.signer.gate.cycle import Cycle
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.bundle import ReceiptBundle, open_envelope
from signwright.statements.dsse import Envelope
from signwright.statements.models import RequestedArtifact, parse_statement
from signwright.statements.receipt import Receipt
from signwright.transparency.leaf import IntentLeaf, Leaf, ResultLeaf, parse_leaf
from tests.attacks.gate.test_derived import PROGRAM, RULES, a_site, jar
from tests.attacks.gate.test_freshness import freshness, says
from tests.support.deep import inside, kept, prepared, signed
from tests.support.gates import Courier, GateSite, sha256
from tests.support.pki import default_pki
from tests.support.world import ORIGIN
from tests.support.zip_builder import Zip

#: What a gate that is honest gives no cause for.
NEVER = {"signed-again", "bad-intent", "attempt", "stray-result", "wrong-result"}
Meanwhile = Callable[[Courier], Awaitable[None]]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GateSite]:
    made = a_site(tmp_path, derived="allow")
    yield made
    made.close()


def request(site: GateSite, *contents: bytes, rules: Inside = RULES) -> Envelope:
    files = {f"{number}.jar": content for number, content in enumerate(contents)}
    artifacts = []
    for content in contents:
        made = prepared(content, rules, site.keyholder.identities["test"], form="jar")
        told = {"operations": made.operations, "derived": made.later}
        artifacts.append(RequestedArtifact(size=len(content), format="jar", **told))
    return site.world.request("test", files=files, artifacts=artifacts)


def asked(
    site: GateSite,
    pool: WorkerPool,
    contents: Sequence[bytes],
    *,
    times: int = 1,
    meanwhile: Meanwhile | None = None,
    rules: Inside = RULES,
) -> tuple[list[Frame], list[Leaf]]:
    """The answers to so many times the same request, and the log. ``meanwhile``: when the first token is asked for."""

    async def scenario() -> tuple[list[Frame], list[Leaf]]:
        async with site.run(pool) as (gate, courier):
            courier.blobs.update({sha256(content): content for content in contents})
            told: list[bool] = []

            async def stamped(frame: Frame) -> Any:
                if meanwhile is not None and not told:
                    told.append(True)
                    await meanwhile(courier)
                return await courier.honest_timestamp(frame)

            courier.lies["timestamp"] = stamped
            one = request(site, *contents, rules=rules)
            answers = [await courier.sign(one) for _ in range(times)]
            return answers, [parse_leaf(leaf) for leaf in gate.parts.log.leaves(0, gate.parts.log.size)]

    return asyncio.run(scenario())


def verified(site: GateSite, source: bytes, patch: bytes, bundle: ReceiptBundle, form: str = "jar") -> list[Check]:
    """What a stranger says of the result."""
    view = BytesView(source)
    result = Patched(view, Patch.decode(patch))
    content = result.read(0, result.size)
    evidence = Evidence(BytesView(content), None, reader_of(form, bundle), bundle)
    return verify(evidence, trust_of(site), at=site.now())


def trust_of(site: GateSite) -> TrustFile:
    """What a stranger believes."""
    services = site.policy.services
    return TrustFile(
        organisation="Example",
        trial=True,
        policy_root_sha256=site.root_sha256,
        log=services.log,
        witnesses=services.witnesses,
        quorum=services.quorum,
        receipt_keys=services.receipt_keys,
        code_signing_roots=(base64.b64encode(default_pki().root).decode(),),
        timestamp_authorities=services.timestamp_authorities,
    )


def tries(leaves: Sequence[Leaf]) -> list[tuple[int, int]]:
    """(attempt, wave) of each intent."""
    return [(leaf.attempt, leaf.wave) for leaf in leaves if isinstance(leaf, IntentLeaf)]


def alarms(leaves: Sequence[Leaf]) -> tuple[set[str], Monitor]:
    monitor = Monitor(Site(True, ORIGIN, "00" * 32))
    monitor.see(enumerate(leaf.encode() for leaf in leaves))
    return {alarm.code for alarm in monitor.told()}, monitor


def test_credential_that_is_revoked_between_waves_gets_no_other_wave(site: GateSite, pool: WorkerPool) -> None:
    key_id = request(site, jar()).signatures[0].keyid

    async def revoked(courier: Courier) -> None:
        assert await says(courier, freshness(site, 2, revoked_credentials=(key_id,))) == "ok"

    (answer,), leaves = asked(site, pool, [jar()], meanwhile=revoked)
    assert (answer.message["outcome"], answer.message["code"]) == ("denied", "submitter")
    assert (tries(leaves), site.keyholder.operations) == ([(1, 0)], 1)


def test_new_policy_between_waves_has_everything_decided_and_signed_anew(site: GateSite, pool: WorkerPool) -> None:
    async def changed(courier: Courier) -> None:
        assert (await courier.policy(site.world.policy_parts())).message["ok"]

    (answer,), leaves = asked(site, pool, [jar()], meanwhile=changed)
    assert answer.message["outcome"] == "signed", answer.message
    assert tries(leaves) == [(1, 0), (2, 0), (2, 1)]
    versions = [leaf.policy_version for leaf in leaves if isinstance(leaf, IntentLeaf)]
    assert versions == [1, 2, 2]
    (row,) = answer.message["artifacts"]  # type: ignore[misc]
    bundle = ReceiptBundle.decode(answer.parts[row["bundle"]])  # type: ignore[index]
    assert len(bundle.waves) == 2
    assert not alarms(leaves)[0] & NEVER


def test_what_failed_between_waves_is_tried_three_times_and_is_no_alarm(site: GateSite, lying_pool: WorkerPool) -> None:
    answers, leaves = asked(site, lying_pool, [jar("any-digest")], times=4)
    assert [answer.message["code"] for answer in answers] == [*["worker-answer"] * 3, "attempts-used"]
    assert (tries(leaves), site.keyholder.operations) == ([(1, 0), (2, 0), (3, 0)], 3)
    results = [leaf for leaf in leaves if isinstance(leaf, ResultLeaf)]
    assert [(leaf.outcome, leaf.result_sha256) for leaf in results] == [("signed", ())] * 3
    found, monitor = alarms(leaves)
    assert not found & NEVER
    # Nobody is to wait for its receipt.
    assert monitor.history.signed_requests() == {}


def test_gate_that_died_between_waves_begins_with_the_first_one_again(
    site: GateSite, pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = request(site, jar())
    again = Cycle._derived_again

    async def scenario() -> tuple[Frame, list[Leaf]]:
        reached = asyncio.Event()

        async def never(*_: Any) -> Any:
            reached.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(Cycle, "_derived_again", never)
        async with site.run(pool) as (_, courier):
            courier.blobs[sha256(jar())] = jar()
            asked_first = asyncio.ensure_future(courier.sign(one))
            await asyncio.wait_for(reached.wait(), 30)
            asked_first.cancel()
        monkeypatch.setattr(Cycle, "_derived_again", again)
        async with site.run(pool) as (gate, courier):
            courier.blobs[sha256(jar())] = jar()
            answer = await courier.sign(one)
            return answer, [parse_leaf(leaf) for leaf in gate.parts.log.leaves(0, gate.parts.log.size)]

    answer, leaves = asyncio.run(scenario())
    assert answer.message["outcome"] == "signed", answer.message
    assert tries(leaves) == [(1, 0), (2, 0), (2, 1)]
    assert not alarms(leaves)[0] & NEVER


def test_contents_of_a_later_wave_have_to_fit_in_one_order_before_an_intent_is_logged(
    site: GateSite, pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derive, "MAX_ATTACHED", 1)
    (answer,), leaves = asked(site, pool, [jar(), jar("other")])
    assert (answer.message["outcome"], answer.message["code"]) == ("denied", "contents-size")
    assert (tries(leaves), site.keyholder.operations) == ([(1, 0)], 2)


@pytest.mark.parametrize("which", [[0, 1, 2], [2, 1, 0], [1, 0], [0, 2]])
def test_files_with_different_numbers_of_waves_have_their_own_receipts(
    tmp_path: Path, pool: WorkerPool, which: list[int]
) -> None:
    """``which``: as many archives around the innermost signed one."""
    within = {"path": "lib/*.jar", "action": "sign", "format": "jar", "members": [signed("native/*", "pe"), kept()]}
    rules = inside(signed("native/*", "pe"), within, kept())
    files = {"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\n\r\n", "a/B.class": b"\xca\xfe\xba\xbe"}
    around = Zip((*files.items(), ("lib/x.jar", jar()), ("native/own.dll", PROGRAM))).build()
    contents = [Zip(tuple(files.items())).build(), jar(), around]
    site = a_site(tmp_path, rules, derived="allow")
    try:
        (answer,), leaves = asked(site, pool, [contents[n] for n in which], rules=rules)
        assert answer.message["outcome"] == "signed", answer.message
        rows: list[dict[str, int]] = answer.message["artifacts"]  # type: ignore[assignment]
        for number, row in zip(which, rows, strict=True):
            bundle = ReceiptBundle.decode(answer.parts[row["bundle"]])
            said = parse_statement(open_envelope(bundle.receipt), Receipt).predicate
            assert (said.derived, len(said.intents)) == (number > 0, 1 + max(which))
            assert len(said.envelopes_sha256) == (1, 2, 4)[number]
            checks = verified(site, contents[which[said.artifact]], answer.parts[row["patch"]], bundle)
            assert [check for check in checks if check.ok is False] == []
    finally:
        site.close()
    assert tries(leaves) == [(1, wave) for wave in range(1 + max(which))]
    assert alarms(leaves)[0] & NEVER == set()
