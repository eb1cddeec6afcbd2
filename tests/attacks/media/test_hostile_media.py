# SPDX-License-Identifier: Apache-2.0
"""Whoever has the medium, or the courier outside with its key, gets no signature: what is wrong is refused early and
clearly where it can be seen in the bundle, and by gate and keyholder where it cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from signwright.errors import LimitError, MalformedError, SignwrightError, VerificationError
from signwright.signer.courier.media import index
from signwright.transparency.note import COSIGNATURE_V1
from signwright.transparency.signing import SignerKey
from signwright.witness.cosigner import Cosigner
from signwright.witness.settings import LogSettings
from signwright.witness.store import Store, create_store
from tests.support.bundles import OUTSIDE, VAULT, bundle, named, outside_bundle, sha256
from tests.support.gates import ORIGIN, now_utc, pe_program
from tests.support.vaults import Release, VaultSite, result_of
from tests.support.world import World

if TYPE_CHECKING:
    from tests.attacks.media.conftest import Running

pytestmark = pytest.mark.attacks


def brought(site: VaultSite, release: Release, **changes: Any) -> tuple[index.OutsideIndex, list[bytes]]:
    members, contents = site.standing()
    made = index.OutsideIndex(**(members | {"jobs": (release.job,), "open": (release.job.request,)} | changes))
    return made, [*contents, *release.contents]


async def refused(site: VaultSite, content: bytes, *kinds: type[SignwrightError]) -> str:
    """The bundle is refused, and nothing of it is there."""
    known, used = site.vault.jobs.known, site.operations
    blobs = {path.name for path in (site.folder / "media/blobs").iterdir()}
    with pytest.raises(kinds or SignwrightError) as caught:
        await site.carry_in(content)
    assert site.vault.jobs.known == known
    assert {path.name for path in (site.folder / "media/blobs").iterdir()} == blobs
    assert list((site.folder / "media/incoming").iterdir()) == []
    assert site.operations == used
    return caught.value.code


async def unsigned(site: VaultSite, release: Release, content: bytes) -> str:
    """It is taken in, and not even two honest trips bring a signature for it; the outcome."""
    used = site.operations
    await site.carry_in(content)
    made, blobs = await site.carry_out()
    site.cosign(made, blobs)
    await site.carry_in(site.honest())
    after, contents = await site.carry_out()
    assert site.operations == used
    answer = result_of(release, made, blobs) or result_of(release, after, contents)
    return str(answer.message["outcome"]) if answer else "none"


def test_a_bundle_cut_off_anywhere_is_refused(running: Running) -> None:
    async def story() -> None:
        content = running.site.honest(Release(running.site))
        step = max(1, len(content) // 60)
        for length in [*range(0, len(content), step), len(content) - 1]:
            await refused(running.site, content[:length], MalformedError, LimitError)

    running.do(story())


def test_a_bundle_with_a_flipped_bit_is_refused(running: Running) -> None:
    async def story() -> None:
        content = running.site.honest(Release(running.site))
        for at in range(3, len(content), max(1, len(content) // 60)):
            flipped = bytearray(content)
            flipped[at] ^= 0x10
            await refused(running.site, bytes(flipped))

    running.do(story())


def test_bytes_behind_a_bundle_in_a_file_are_refused(running: Running) -> None:
    async def story() -> None:
        code = await refused(running.site, running.site.honest() + b"\0", MalformedError)
        assert code == "bundle-trailing"

    running.do(story())


def test_a_bundle_that_somebody_else_signed_is_refused(running: Running) -> None:
    async def story() -> None:
        foreign = running.site.honest(Release(running.site), key=World().scanner)
        assert await refused(running.site, foreign, VerificationError) == "foreign-bundle"

    running.do(story())


@pytest.mark.parametrize("key", [OUTSIDE, VAULT])
def test_the_vaults_own_bundle_does_not_come_in_again(running: Running, key: Any) -> None:
    async def story() -> None:
        own = bundle([("index", index.VaultIndex().model_dump_json().encode())], side="vault", key=key)
        assert await refused(running.site, own, VerificationError) in {"wrong-side", "foreign-bundle"}

    running.do(story())


def test_an_artifact_that_was_swapped_on_the_medium_is_refused(running: Running) -> None:
    async def story() -> None:
        site, release = running.site, Release(running.site)
        other = pe_program(overlay=b"malware")
        assert len(other) != len(release.content)
        same = release.content[:-1] + bytes([release.content[-1] ^ 1])
        content = site.honest(release).replace(release.content, same)
        assert await refused(site, content, VerificationError) == "bundle-damaged"

    running.do(story())


def test_an_artifact_that_a_courier_swaps_in_its_own_bundle_is_not_signed(running: Running) -> None:
    async def story() -> None:
        site, release = running.site, Release(running.site)
        other = pe_program(overlay=b"malware")
        job = release.job.model_copy(update={"artifacts": (sha256(other),)})
        made, contents = brought(site, release, jobs=(job,))
        assert await unsigned(site, release, outside_bundle(made, [*contents, other])) == "failed"

    running.do(story())


def test_approvals_of_another_request_do_not_count(running: Running) -> None:
    async def story() -> None:
        site, release, other = running.site, Release(running.site), Release(running.site)
        job = release.job.model_copy(update={"approvals": other.job.approvals})
        made, contents = brought(site, release, jobs=(job,))
        assert await unsigned(site, release, outside_bundle(made, [*contents, *other.contents])) == "waiting"

    running.do(story())


def test_evidence_of_another_artifact_does_not_count(running: Running) -> None:
    async def story() -> None:
        site, release, other = (
            running.site,
            Release(running.site),
            Release(running.site, content=pe_program(overlay=b"x")),
        )
        job = release.job.model_copy(update={"evidence": other.job.evidence})
        made, contents = brought(site, release, jobs=(job,))
        assert await unsigned(site, release, outside_bundle(made, [*contents, *other.contents])) in {
            "waiting",
            "denied",
        }

    running.do(story())


def test_a_request_in_an_approvals_place_is_no_approval(running: Running) -> None:
    async def story() -> None:
        site, release = running.site, Release(running.site)
        job = release.job.model_copy(update={"approvals": (release.job.request,)})
        made, contents = brought(site, release, jobs=(job,))
        assert await unsigned(site, release, outside_bundle(made, contents)) == "waiting"

    running.do(story())


def test_without_an_answer_of_the_witness_nothing_is_signed(running: Running) -> None:
    async def story() -> None:
        site, release = running.site, Release(running.site)
        used = site.operations
        await site.carry_in(site.honest(release))
        await site.carry_out()
        site.answers = []
        await site.carry_in(site.honest(release))
        made, blobs = await site.carry_out()
        assert result_of(release, made, blobs) is None
        assert site.operations == used
        site.cosign(made, blobs)
        await site.carry_in(site.honest(release))
        assert site.operations == used + 1

    running.do(story())


def test_an_answer_to_another_question_is_not_used(running: Running) -> None:
    async def story() -> None:
        site, release = running.site, Release(running.site)
        used = site.operations
        await site.carry_in(site.honest(release))
        made, blobs = await site.carry_out()
        site.cosign(made, blobs)
        good = site.answers
        site.answers = [(row.model_copy(update={"question": sha256(b"another")}), body) for row, body in good]
        said = await site.carry_in(site.honest(release))
        assert any("0 of" in note for note in said["notes"]), said
        assert site.operations == used
        site.answers = good
        await site.carry_in(site.honest(release))
        assert site.operations == used + 1

    running.do(story())


def test_a_cosignature_of_another_key_signs_nothing(running: Running) -> None:
    async def story() -> None:
        site, release = running.site, Release(running.site)
        used = site.operations
        await site.carry_in(site.honest(release))
        made, blobs = await site.carry_out()
        create_store(site.folder / "forger.sqlite3")
        store = Store(site.folder / "forger.sqlite3")
        logs = (LogSettings(origin=ORIGIN, keys=(site.site.world.log_key,)),)
        key = SignerKey("w1", COSIGNATURE_V1, World().witness_private.private_bytes_raw())
        forger = Cosigner(key, store, logs=logs, clock=now_utc)
        (question,) = (row for row in made.questions if row.kind == "cosign")
        body = blobs[question.question]
        line = forger.add_checkpoint(b"old 0\n" + body[body.index(b"\n\n") + 1 :]).line().encode()
        store.close()
        row = index.Answer(witness=question.witness, question=question.question, status=200, answer=sha256(line))
        site.answers = [(row, line)]
        await site.carry_in(site.honest(release))
        assert site.operations == used
        results, contents = await site.carry_out()
        answer = result_of(release, results, contents)
        assert answer is not None
        assert answer.message["code"] == "no-quorum", answer.message

    running.do(story())


def test_an_older_policy_on_a_medium_changes_nothing(running: Running) -> None:
    async def story() -> None:
        site = running.site
        root, older, documents, _ = site.site.policy_parts
        site.site.policy_parts = site.site.world.policy_parts()
        newer = site.honest()
        await site.carry_in(newer)
        site.cosign(*await site.carry_out())
        await site.carry_in(site.honest())
        current = site.gate.parts.policies.in_force.policy.version
        site.site.policy_parts = (root, older, documents, site.site.root_sha256)
        await site.carry_in(site.honest())
        assert site.gate.parts.policies.in_force.policy.version == current
        assert site.gate.parts.policies.waiting is None

    running.do(story())


def test_names_of_a_policys_documents_come_from_the_policy(running: Running) -> None:
    """There is no name on a medium that could be another's: a document that is missing makes the policy refused."""

    async def story() -> None:
        site = running.site
        members, contents = site.standing()
        (policy,) = members["policies"]
        members["policies"] = (policy.model_copy(update={"documents": policy.documents[1:]}),)
        made = index.OutsideIndex(**members)
        version = site.gate.parts.policies.in_force.policy.version
        await site.carry_in(bundle([("index", made.model_dump_json().encode()), *named(made, contents)]))
        assert site.gate.parts.policies.in_force.policy.version == version

    running.do(story())
