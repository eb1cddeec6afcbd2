# SPDX-License-Identifier: Apache-2.0
"""A hub that lies, in front of real processes: one test for each lie, and no key operation in any of them."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.cli.demo.lies import LIES, Lie, Loot, honest_request, replayed_request, same_result, told
from signwright.cli.demo.loopback import address_of
from signwright.cli.demo.lying_hub import Job
from signwright.cli.demo.lying_witness import LyingWitness
from signwright.client.ssh_keys import load_person_key, make_key_files
from signwright.model.times import format_time
from signwright.policy.weakening import documents_of
from signwright.policy.write import draft_policy
from signwright.statements.dsse import Envelope
from signwright.statements.models import Request, SeenCheckpoint, parse_statement
from signwright.statements.writing import sign_ed25519, statement_payload
from tests.support.lying_site import OUTSIDER, LyingSite, policy_row
from tests.support.processes import wait_until

pytestmark = pytest.mark.xdist_group("lying-hub")


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name.replace(" ", "-"))
def test_lie_of_the_demonstration_is_refused(site: LyingSite, lie: Lie) -> None:
    found, answer = told(site.liar, lie.tell(site.loot))
    assert found == lie.wanted, answer.message


def changed_request(loot: Loot, key: Ed25519PrivateKey | None = None, **changes: Any) -> Envelope:
    """A request that differs in ``changes``, signed by the build server (or by ``key``): no client would write it."""
    honest = parse_statement(loot.request(), Request)
    predicate = honest.predicate.model_copy(update={"nonce": secrets.token_hex(16), **changes})
    subjects = [(s.name, s.digest.sha256) for s in honest.subjects]
    release = next(c for c in loot.credentials if c.kind == "release")
    return sign_ed25519(statement_payload(predicate, subjects), key or release.key)


def asked_and_approved(loot: Loot, request: Envelope) -> Job:
    return loot.job(request, loot.approved(request))


def approval_moved_to_another_request(site: LyingSite) -> Job:
    loot = site.loot
    return loot.job(loot.request(), loot.approved(loot.request()))


def approval_of_the_finished_release(site: LyingSite) -> Job:
    return site.loot.job(site.loot.request(), site.loot.envelopes("approvals"))


def stripped_evidence(site: LyingSite) -> Job:
    request = site.loot.request()
    return site.loot.job(request, site.loot.approved(request), [])


def stripped_approvals(site: LyingSite) -> Job:
    return site.loot.job(site.loot.request())


def duplicated_and_reordered(site: LyingSite) -> Job:
    """One person's two words among copies, in any order: still one person."""
    loot, request = site.loot, site.loot.request()
    first, second = (loot.approval(request, "alice", comment=text) for text in ("one", "two"))
    return loot.job(request, [second, first, second, first], [loot.verdict] * 3)


def unknown_option(site: LyingSite) -> Job:
    artifacts = parse_statement(site.loot.request(), Request).predicate.artifacts
    changed = tuple(a.model_copy(update={"options": {"turbo": True}}) for a in artifacts)
    return asked_and_approved(site.loot, changed_request(site.loot, artifacts=changed))


def expired_request(site: LyingSite) -> Job:
    then = datetime.now(UTC) - timedelta(days=9)
    times = {"created": format_time(then), "expires": format_time(then + timedelta(hours=1))}
    return asked_and_approved(site.loot, changed_request(site.loot, **times))


def digest_mode_for_a_release(site: LyingSite) -> Job:
    return asked_and_approved(site.loot, changed_request(site.loot, mode="digest"))


def artifact_swapped_before_the_scan(site: LyingSite) -> Job:
    """The scanner's word is true, and about the bytes that it was given."""
    swapped = site.loot.program.with_name("swapped.exe")
    swapped.write_bytes(site.loot.content + b"\0" * 8)
    request = site.loot.request()
    job = site.loot.job(request, site.loot.approved(request), [site.scan(swapped)])
    return replace(job, artifacts={site.loot.sha256: swapped.read_bytes()})


def approver_who_did_not_look(site: LyingSite) -> Job:
    """The artifact was swapped before the approval, so a client that looks does not get this far."""
    loot, request = site.loot, site.loot.request()
    return loot.job(request, [loot.approval(request, p, artifacts_rehashed=False) for p in ("alice", "bob")])


def bytes_before_the_artifact(site: LyingSite) -> Job:
    request = site.loot.request()
    return site.loot.job(request, site.loot.approved(request), content=bytes(100) + site.loot.content)


def shorter_artifact(site: LyingSite) -> Job:
    request = site.loot.request()
    return site.loot.job(request, site.loot.approved(request), content=site.loot.content[:-100])


def missing_artifact(site: LyingSite) -> Job:
    request = site.loot.request()
    return replace(site.loot.job(request, site.loot.approved(request)), artifacts={})


def wrong_group(site: LyingSite) -> Job:
    loot, request = site.loot, site.loot.request()
    outsider = load_person_key(site.home / "people" / OUTSIDER, lambda _: "")
    word = outsider.sign_statement(loot.approval_payload(request, OUTSIDER), "approval")
    return loot.job(request, [loot.approval(request, "alice"), word])


def unenrolled_key(site: LyingSite) -> Job:
    """A key of nobody says that it is bob."""
    loot, request = site.loot, site.loot.request()
    folder = site.home.folder / "run"
    file = folder / f"stranger-{secrets.token_hex(4)}"
    make_key_files(file, comment="bob")
    stranger = load_person_key(file, lambda _: "")
    word = stranger.sign_statement(loot.approval_payload(request, "bob"), "approval")
    return loot.job(request, [loot.approval(request, "alice"), word])


def unenrolled_credential(site: LyingSite) -> Job:
    return asked_and_approved(site.loot, changed_request(site.loot, Ed25519PrivateKey.generate()))


def test_credential_for_a_release(site: LyingSite) -> Job:
    key = next(c.key for c in site.loot.credentials if c.kind == "test")
    return asked_and_approved(site.loot, changed_request(site.loot, key))


test_credential_for_a_release.__test__ = False  # type: ignore[attr-defined]


def approvals_under_the_older_policy(site: LyingSite) -> Job:
    loot, request = site.loot, site.loot.request()
    words = [loot.approval(request, p, policy_sha256=site.older.policy.sha256) for p in ("alice", "bob")]
    return loot.job(request, words)


def withheld_no_after_the_age_of_the_approvals(site: LyingSite) -> Job:
    """Whatever a hub keeps back: after their time the yeses it has are worth nothing."""
    loot, request = site.loot, site.loot.request()
    then = datetime.now(UTC) - timedelta(hours=73)
    times = {"created": format_time(then), "expires": format_time(then + timedelta(hours=100))}
    return loot.job(request, [loot.approval(request, p, **times) for p in ("alice", "bob")])


def delivered_no(site: LyingSite) -> Job:
    loot, request = site.loot, site.loot.request()
    return loot.job(request, [*loot.approved(request), loot.approval(request, "bob", decision="deny")])


def approver_who_saw_a_longer_log(site: LyingSite) -> Job:
    """As after the signer's state was restored from an older copy."""
    loot, request = site.loot, site.loot.request()
    ahead = SeenCheckpoint(origin=loot.seen.origin, size=loot.seen.size + 1000, root="ab" * 32)
    return loot.job(request, [loot.approval(request, p, checkpoint=ahead) for p in ("alice", "bob")])


def approver_who_saw_a_fork(site: LyingSite) -> Job:
    loot, request = site.loot, site.loot.request()
    fork = SeenCheckpoint(origin=loot.seen.origin, size=loot.seen.size, root="ab" * 32)
    return loot.job(request, [loot.approval(request, p, checkpoint=fork) for p in ("alice", "bob")])


def escape_sequence_in_a_comment(site: LyingSite) -> Job:
    """Signed by bob's own key, so that only the strict parser stands in the way."""
    loot, request = site.loot, site.loot.request()
    payload = loot.approval_payload(request, "bob", comment="fine")
    poisoned = payload.replace(b'"comment":"fine"', b'"comment":"\\u001b[2Jfine"')
    assert poisoned != payload
    return loot.job(request, [loot.approval(request, "alice"), loot.people["bob"].sign_statement(poisoned, "approval")])


def escape_sequence_in_a_file_name(site: LyingSite) -> Job:
    honest = site.loot.request()
    poisoned = honest.payload.replace(b'"name":"setup.exe"', b'"name":"\\u001b[31msetup.exe"')
    assert poisoned != honest.payload
    key = next(c.key for c in site.loot.credentials if c.kind == "release")
    return replace(site.loot.job(honest), request=sign_ed25519(poisoned, key).encode())


def request_that_is_too_large(site: LyingSite) -> Job:
    honest = site.loot.request()
    padded = honest.payload[:-1] + b" " * (65 << 10) + b"}"
    key = next(c.key for c in site.loot.credentials if c.kind == "release")
    return replace(site.loot.job(honest), request=sign_ed25519(padded, key).encode())


def too_many_approvals(site: LyingSite) -> Job:
    loot, request = site.loot, site.loot.request()
    return loot.job(request, [loot.approval(request, "alice", comment=str(n)) for n in range(65)])


def too_much_evidence(site: LyingSite) -> Job:
    request = site.loot.request()
    return site.loot.job(request, site.loot.approved(request), [site.loot.verdict] * 257)


def request_that_is_nonsense(site: LyingSite) -> Job:
    return Job(request=b"\xff\xfe not an envelope")


LIES_OF_ALL_KINDS: list[tuple[Callable[[LyingSite], Job], str]] = [
    (approval_moved_to_another_request, "waiting/approvals"),
    (approval_of_the_finished_release, "waiting/approvals"),
    (stripped_evidence, "waiting/scan"),
    (stripped_approvals, "waiting/approvals"),
    (duplicated_and_reordered, "waiting/approvals"),
    (unknown_option, "denied/option"),
    (expired_request, "denied/request-expired"),
    (digest_mode_for_a_release, "denied/mode"),
    (artifact_swapped_before_the_scan, "waiting/scan"),
    (approver_who_did_not_look, "waiting/approvals"),
    (bytes_before_the_artifact, "failed/artifact-mismatch"),
    (shorter_artifact, "failed/artifact-incomplete"),
    (missing_artifact, "failed/errand-failed"),
    (wrong_group, "waiting/approvals"),
    (unenrolled_key, "waiting/approvals"),
    (unenrolled_credential, "denied/submitter"),
    (test_credential_for_a_release, "denied/submitter"),
    (approvals_under_the_older_policy, "waiting/approvals"),
    (withheld_no_after_the_age_of_the_approvals, "waiting/approvals"),
    (delivered_no, "denied/rejected"),
    (approver_who_saw_a_longer_log, "failed/log-rollback"),
    (approver_who_saw_a_fork, "failed/log-fork"),
    (escape_sequence_in_a_comment, "waiting/approvals"),
    (escape_sequence_in_a_file_name, "denied/bad-text"),
    (request_that_is_too_large, "denied/statement-too-large"),
    (too_many_approvals, "denied/malformed"),
    (too_much_evidence, "denied/malformed"),
    (request_that_is_nonsense, "denied/bad-json"),
]


@pytest.mark.parametrize(("lie", "wanted"), LIES_OF_ALL_KINDS, ids=[lie.__name__ for lie, _ in LIES_OF_ALL_KINDS])
def test_lie_is_refused(site: LyingSite, lie: Callable[[LyingSite], Job], wanted: str) -> None:
    found, answer = told(site.liar, lie(site))
    assert found == wanted, answer.message
    assert answer.frame.message["artifacts"] == []


def test_replayed_request_gets_the_first_result_again(site: LyingSite) -> None:
    found, answer = told(site.liar, replayed_request(site.loot))
    assert found == "signed"
    assert same_result(answer, site.loot.bundle)


def test_older_policy_is_refused_and_the_newer_one_stays(site: LyingSite) -> None:
    site.liar.serve_policy(policy_row(site.older))
    wait_until(lambda: "policy-rollback" in site.courier_log, what="the gate's refusal in the courier's log")
    loot = replace(site.loot, policy=site.older.policy)
    request = loot.request()
    found, answer = told(site.liar, loot.job(request, loot.approved(request)))
    assert found == "waiting/approvals", answer.message
    site.liar.serve_policy(policy_row(site.policy))


def test_policy_of_another_keeper_is_refused(site: LyingSite, tmp_path: Path) -> None:
    make_key_files(tmp_path / "keeper", comment="keeper")
    stranger, policy, now = load_person_key(tmp_path / "keeper", lambda _: ""), site.policy.policy, datetime.now(UTC)
    draft = draft_policy(
        documents_of(policy),
        root=policy.root,
        root_sha256=policy.root_sha256,
        version=policy.version + 1,
        created=now,
        expires=now + timedelta(days=1),
    )
    forged = stranger.sign_statement(draft.payload, "policy")
    row = {**policy_row(site.policy), "policy": base64.b64encode(forged.encode()).decode(), "sha256": "0f" * 32}
    before = site.courier_log.count("policy refused")
    site.liar.serve_policy(row)
    wait_until(lambda: site.courier_log.count("policy refused") > before, what="the gate's refusal")
    site.liar.serve_policy(policy_row(site.policy))


def test_garbage_in_a_poll_costs_only_that_poll(site: LyingSite) -> None:
    """The courier comes back, and the next job is answered."""
    request = site.loot.request()
    site.liar.hand_out(site.loot.job(request, approvals="not a list"))
    found, answer = told(site.liar, site.loot.job(request))
    assert found == "waiting/approvals", answer.message


def test_forged_cosignature_is_a_missing_one(site: LyingSite) -> None:
    """Everything is in order but the witness: the intent is logged as failed, and no key is used."""
    (witness,) = site.loot.trust.log_trust.quorum.witnesses
    site.children.stop("witness")
    try:
        with LyingWitness(address_of(site.settings["witnesses"][witness.name]), witness) as forger:
            found, answer = told(site.liar, honest_request(site.loot))
        assert found == "failed/no-quorum", answer.message
        assert forger.asked
    finally:
        site.children.start("witness")


def test_absent_witness_is_a_missing_cosignature(site: LyingSite) -> None:
    site.children.stop("witness")
    try:
        found, answer = told(site.liar, honest_request(site.loot))
        assert found == "failed/no-quorum", answer.message
    finally:
        site.children.start("witness")


def test_count_notices_a_key_operation_and_the_same_home_does_sign(shared_site: LyingSite) -> None:
    """Without this the zeros above would prove nothing."""
    before = shared_site.used
    found, answer = told(shared_site.liar, honest_request(shared_site.loot))
    assert found == "signed", answer.message
    after = shared_site.used
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1, 1]
    assert after.since(before) == 1


def test_withheld_no_is_not_missed_while_two_yeses_hold(shared_site: LyingSite) -> None:
    """What a lying hub can do: a no that it keeps to itself is bounded by the approvals' age alone."""
    loot = shared_site.loot
    request = loot.request()
    loot.approval(request, "bob", decision="deny")  # never delivered
    before = shared_site.used
    assert told(shared_site.liar, asked_and_approved(loot, request))[0] == "signed"
    assert shared_site.used.since(before) == 1
