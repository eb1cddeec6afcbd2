# SPDX-License-Identifier: Apache-2.0
"""Archives that are signed after their members: nobody approved that digest, and much rests on how it came about."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView
from signwright.policy import documents as d
from signwright.policy.documents import Inside
from signwright.readers.registry import READERS
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.bundle import ReceiptBundle, open_envelope
from signwright.statements.models import Request, RequestedArtifact, parse_statement
from signwright.statements.receipt import Receipt
from signwright.transparency.leaf import IntentLeaf, ResultLeaf, parse_leaf
from tests.attacks.gate.test_archives import opened
from tests.support.deep import inside, kept, prepared, signed
from tests.support.gates import GateSite, organisation, sha256, taking
from tests.support.pe_builder import Pe
from tests.support.zip_builder import Zip

PROGRAM = Pe(overlay=b"ours").build()
RULES = inside(signed("native/*", "pe", min=1), kept("**"))
FILES = {
    "META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\n\r\n",
    "a/B.class": b"\xca\xfe\xba\xbe",
    "native/lib.dll": PROGRAM,
}


def jar(lie: str = "none") -> bytes:
    return Zip(tuple(FILES.items()), comment=f"lie:{lie};".encode()).build()


def a_site(tmp_path: Path, rules: Inside = RULES, **changes: Any) -> GateSite:
    rule = d.ArtifactRule(name="*.jar", format="jar", members=rules.members)
    return GateSite(tmp_path, world=taking(organisation(), rule, modes=("artifact",), **changes))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GateSite]:
    made = a_site(tmp_path, derived="allow")
    yield made
    made.close()


def asked(site: GateSite, pool: WorkerPool, content: bytes, **changes: Any) -> tuple[dict[str, Any], list[bytes], int]:
    """The answer with its parts, and uses of the key. ``changes``: of what the request says of the artifact."""
    made = prepared(content, RULES, site.keyholder.identities["test"], form="jar")
    told = {"operations": made.operations, "derived": made.later, **changes}
    artifact = RequestedArtifact(size=len(content), format="jar", **told)
    request = site.world.request("test", files={"app.jar": content}, artifacts=[artifact])

    async def scenario() -> tuple[dict[str, Any], list[bytes], int]:
        async with site.run(pool) as (gate, courier):
            courier.blobs[sha256(content)] = content
            answer = await courier.sign(request)
            digest = parse_statement(request, Request).digest
            leaves = [parse_leaf(leaf) for leaf in gate.parts.log.leaves(0, gate.parts.log.size)]
            site.told = [leaf for leaf in leaves if getattr(leaf, "request", None) == digest]  # type: ignore[attr-defined]
            return dict(answer.message), list(answer.parts), site.keyholder.operations

    return asyncio.run(scenario())


def test_members_are_signed_then_the_archive_and_log_and_receipt_say_so(site: GateSite, pool: WorkerPool) -> None:
    message, parts, operations = asked(site, pool, jar())
    assert (message["outcome"], operations) == ("signed", 2), message
    (row,) = message["artifacts"]
    source = BytesView(jar())
    result = Patched(source, Patch.decode(parts[row["patch"]]))
    content = result.read(0, result.size)
    assert len(READERS["jar"].read(BytesView(content)).signatures) == 1
    assert len(READERS["pe"].read(BytesView(opened(content)["native/lib.dll"])).signatures) == 1
    bundle = ReceiptBundle.decode(parts[row["bundle"]])
    said = parse_statement(open_envelope(bundle.receipt), Receipt).predicate
    assert (said.derived, len(said.intents), len(said.envelopes_sha256), len(bundle.waves)) == (True, 2, 2, 2)
    intents = [leaf for leaf in site.told if isinstance(leaf, IntentLeaf)]  # type: ignore[attr-defined]
    assert [(leaf.wave, leaf.attempt, leaf.derived) for leaf in intents] == [(0, 1, False), (1, 1, True)]
    results = [leaf for leaf in site.told if isinstance(leaf, ResultLeaf)]  # type: ignore[attr-defined]
    assert [(leaf.wave, leaf.outcome) for leaf in results] == [(0, "signed"), (1, "signed")]
    assert [leaf.result_sha256 for leaf in results] == [(), (row["result_sha256"],)]


def test_policy_that_does_not_allow_it_has_nothing_signed(tmp_path: Path, pool: WorkerPool) -> None:
    site = a_site(tmp_path)
    try:
        message, _, operations = asked(site, pool, jar())
        assert (message["outcome"], message["code"], operations) == ("denied", "derived", 0)
    finally:
        site.close()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: (), id="none"),
        pytest.param(lambda rows: (*rows, rows[0].model_copy(update={"wave": 2})), id="one-more"),
        pytest.param(lambda rows: (rows[0].model_copy(update={"wave": 2}),), id="later"),
        pytest.param(lambda rows: (rows[0].model_copy(update={"algorithm": "sha512"}),), id="other-algorithm"),
        pytest.param(lambda rows: (rows[0].model_copy(update={"inner_path": "native/lib.dll"}),), id="other-path"),
    ],
)
def test_request_that_names_other_operations_to_follow_is_refused_before_the_key_is_used(
    site: GateSite, pool: WorkerPool, change: Any
) -> None:
    made = prepared(jar(), RULES, site.keyholder.identities["test"], form="jar")
    message, _, operations = asked(site, pool, jar(), derived=change(made.later))
    assert (message["outcome"], operations) == ("denied", 0)
    assert message["code"] in {"wrong-operations", "operation-format"}


@pytest.mark.parametrize(
    ("lie", "outcome", "code", "operations"),
    [
        # Before anything is signed.
        ("nothing-later", "denied", "wrong-operations", 0),
        ("more-later", "denied", "wrong-operations", 0),
        ("other-later", "denied", "wrong-operations", 0),
        # What the first wave embeds is read by another worker before the second one begins.
        ("class-changed", "failed", "strip-test", 1),
        ("embedded-nothing", "failed", "result-mismatch", 1),
        # In the second wave.
        ("any-digest", "failed", "worker-answer", 1),
        ("later-digest", "denied", "wrong-content", 1),
        ("other-path", "failed", "worker-answer", 1),
        ("two-operations", "denied", "wrong-operations", 1),
        ("later-content", "denied", "bad-state", 2),
        ("class-changed-later", "failed", "digest-mismatch", 2),
        ("library-unsigned-later", "failed", "digest-mismatch", 2),
    ],
)
def test_worker_that_the_archive_took_over_gets_nothing_else_delivered(
    site: GateSite, lying_pool: WorkerPool, lie: str, outcome: str, code: str, operations: int
) -> None:
    message, _, used = asked(site, lying_pool, jar(lie))
    assert (message["outcome"], message["code"], used) == (outcome, code, operations), message
    assert message["artifacts"] == []


def test_archive_that_takes_nothing_over_is_signed_by_the_same_workers(site: GateSite, lying_pool: WorkerPool) -> None:
    assert asked(site, lying_pool, jar())[0]["outcome"] == "signed"
