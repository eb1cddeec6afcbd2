# SPDX-License-Identifier: Apache-2.0
"""One request through a real gate: what an honest courier gets back, and what stands in the log afterwards."""

from __future__ import annotations

import asyncio
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.model.framing import Frame
from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView, blocks
from signwright.policy.log_trust import log_trust
from signwright.readers.pe import PeReader
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.bundle import ReceiptBundle, open_envelope
from signwright.statements.keys import verify_envelope
from signwright.statements.models import parse_statement
from signwright.statements.receipt import Receipt
from signwright.statements.writing import public_text
from signwright.transparency.leaf import IntentLeaf, PolicyLeaf, ResultLeaf, parse_intent, parse_leaf
from signwright.transparency.proof import TlogProof
from signwright.transparency.tiles import parse_bundle
from tests.support.gates import Answer, GateSite, Release, digest_request, pe_artifact, pe_program, sha256, until


def leaves(files: dict[str, bytes], size: int) -> list[object]:
    content = files[f"tile/entries/000.p/{size}"]
    return [parse_leaf(entry) for entry in parse_bundle(content, size)]


def test_release_with_two_approvals_is_signed_read_back_and_recorded(site: GateSite, pool: WorkerPool) -> None:
    async def scenario() -> None:
        async with site.run(pool) as (gate, courier):
            release = Release(site, courier)
            answer = await release.sign()
            assert answer.message["outcome"] == "signed", answer.message
            (row,) = answer.message["artifacts"]
            patch = Patch.decode(answer.parts[row["patch"]])
            signed = Patched(BytesView(release.content), patch)
            result = b"".join(blocks(signed, 0, signed.size))
            assert sha256(result) == row["result_sha256"]
            (signature,) = PeReader().read(BytesView(result)).signatures
            assert signature.signer_certificate == site.keyholder.identities["release"].certificate
            assert signature.timestamp_token is not None
            assert site.keyholder.operations == 1
            bundle = ReceiptBundle.decode(answer.parts[row["bundle"]])
            _check_bundle(site, bundle, result)
            await until(lambda: gate.parts.log.witnessed.checkpoint.size == gate.parts.log.size)  # type: ignore[union-attr]
            await until(lambda: f"tile/entries/000.p/{gate.parts.log.size}" in courier.published)
            found = leaves(courier.published, gate.parts.log.size)
            kinds = [leaf.type for leaf in found]  # type: ignore[attr-defined]
            assert kinds[:2] == ["genesis", "policy"]
            assert kinds[-2:] == ["intent", "result"]
            last = found[-1]
            assert isinstance(last, ResultLeaf)
            assert (last.outcome, last.result_sha256) == ("signed", (row["result_sha256"],))
            assert answer.message["intent"] == [len(answer.parts) - 1]

    asyncio.run(scenario())


def _check_bundle(site: GateSite, bundle: ReceiptBundle, result: bytes) -> None:
    """The receipt holds, and its intent stands in the log under a quorum."""
    envelope = open_envelope(bundle.receipt)
    assert verify_envelope(envelope, "receipt", [public_text(site.world.receipts)])
    statement = parse_statement(envelope, Receipt)
    receipt = statement.predicate
    assert statement.subjects[0].digest.sha256 == sha256(result)
    assert receipt.people == ("alice", "bob")
    assert (receipt.grade, receipt.trial, receipt.timestamp) == ("release", True, "local")
    assert (receipt.witnesses_outside, receipt.witnesses_local) == (0, 1)
    assert receipt.exceptions == ("local-timestamp", "local-witness")
    assert receipt.key_protection == "software"
    assert receipt.sandbox not in ("", "not-used")
    (wave,) = bundle.waves
    leaf = parse_intent(wave.intent.leaf_bytes())
    proof = TlogProof.parse(wave.intent.proof_text())
    proof.verify(wave.intent.leaf_bytes(), log_trust(site.policy.services))
    assert (proof.index,) == receipt.intents
    assert leaf.request == receipt.request
    assert bundle.authorisation is not None
    assert len(bundle.authorisation.approvals) == 2


def test_several_files_are_one_intent_and_one_order(site: GateSite, pool: WorkerPool) -> None:
    async def scenario() -> None:
        async with site.run(pool) as (_, courier):
            contents = {"a.exe": pe_program(), "b.exe": pe_program(overlay=b"more")}
            courier.blobs.update({sha256(content): content for content in contents.values()})
            artifacts = [pe_artifact(content) for content in contents.values()]
            answer = await courier.sign(site.world.request("test", files=contents, artifacts=artifacts))
            assert answer.message["outcome"] == "signed", answer.message
            assert len(answer.message["artifacts"]) == 2  # type: ignore[arg-type]
            assert (len(site.keyholder.orders), site.keyholder.operations) == (1, 2)

    asyncio.run(scenario())


def test_digest_mode_never_fetches_and_says_so(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (_, courier):
            answer = await courier.sign(digest_request(site))
            assert answer.message["outcome"] == "signed", answer.message
            (row,) = answer.message["artifacts"]  # type: ignore[misc]
            assert row["patch"] is None
            assert "fetch" not in courier.errands
            leaf = parse_leaf(answer.parts[answer.message["intent"][0]])  # type: ignore[index]
            assert isinstance(leaf, IntentLeaf)
            assert (leaf.content_seen, leaf.mode, leaf.sandbox) == (False, "digest", "not-used")
            receipt = parse_statement(open_envelope(ReceiptBundle.decode(answer.parts[row["bundle"]]).receipt), Receipt)
            envelope = answer.parts[row["envelopes"][0]]
            assert receipt.subjects[0].digest.sha256 == hashlib.sha256(envelope).hexdigest()

    asyncio.run(scenario())


def test_witness_that_starts_again_is_asked_again(site: GateSite) -> None:
    """A request whose cosignature fails has failed, and its approvals with it: a restart there must not do that."""
    refused = []

    async def scenario() -> None:
        async with site.run() as (_, courier):

            async def away_twice(frame: Frame) -> Answer:
                if len(refused) < 2:
                    refused.append(frame)
                    return Answer(ok=False, message="connection refused")
                return await courier.honest_witness(frame)

            courier.lies["witness"] = away_twice
            answer = await courier.sign(digest_request(site))
            assert answer.message["outcome"] == "signed", answer.message

    asyncio.run(scenario())
    assert len(refused) == 2


def test_same_request_again_gets_the_stored_answer_without_a_key(site: GateSite) -> None:
    async def scenario() -> None:
        request = digest_request(site)
        async with site.run() as (_, courier):
            first = await courier.sign(request)
            again = await courier.sign(request)
        async with site.run() as (_, courier):
            after_restart = await courier.sign(request)
        for answer in (again, after_restart):
            assert answer.parts == first.parts
            assert answer.message["artifacts"] == first.message["artifacts"]
        assert site.keyholder.operations == 1

    asyncio.run(scenario())


def test_same_request_twice_at_once_is_one_piece_of_work(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (_, courier):
            request = digest_request(site)
            answers = await asyncio.gather(*(courier.sign(request) for _ in range(5)))
            assert {answer.message["outcome"] for answer in answers} == {"signed"}
            assert site.keyholder.operations == 1

    asyncio.run(scenario())


def test_many_requests_share_groups_and_cosignatures(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (gate, courier):
            before = courier.errands.count("witness")
            answers = await asyncio.gather(*(courier.sign(digest_request(site)) for _ in range(40)))
            assert {answer.message["outcome"] for answer in answers} == {"signed"}
            assert site.keyholder.operations == 40
            assert courier.errands.count("witness") - before < 40
            assert gate.parts.log.size >= 82

    asyncio.run(scenario())


def test_waiting_request_is_signed_once_the_second_approval_comes(site: GateSite, pool: WorkerPool) -> None:
    async def scenario() -> None:
        async with site.run(pool) as (_, courier):
            release = Release(site, courier)
            waiting = await release.sign(approvals=[release.approval("alice")])
            assert (waiting.message["outcome"], waiting.message["code"]) == ("waiting", "approvals")
            assert site.keyholder.operations == 0
            assert (await release.sign()).message["outcome"] == "signed"

    asyncio.run(scenario())


def test_policy_that_weakens_something_says_so_in_its_leaf(site: GateSite) -> None:
    site.world.people["mallory"] = Ed25519PrivateKey.generate()
    newer = site.world.policy_parts()

    async def scenario() -> None:
        async with site.run() as (gate, courier):
            assert (await courier.policy(newer)).message["ok"] is True
            await until(lambda: f"tile/entries/000.p/{gate.parts.log.size}" in courier.published)
            found = [one for one in leaves(courier.published, gate.parts.log.size) if isinstance(one, PolicyLeaf)]
            assert [leaf.weakening for leaf in found] == [(), ("people",)]

    asyncio.run(scenario())


def test_whoever_asks_for_work_that_has_begun_hears_how_it_goes_on(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (_, courier):
            asked = {"type": "sign", "request": 0, "approvals": [], "evidence": [], "eager": True}
            request = digest_request(site).encode()
            answers = await asyncio.gather(*(courier.call(dict(asked), [request]) for _ in range(3)))
            assert [answer.message["outcome"] for answer in answers] == ["signed"] * 3
            assert courier.progress.count("signing") == courier.progress.count("timestamping") == 3
            assert site.keyholder.operations == 1

    asyncio.run(scenario())
