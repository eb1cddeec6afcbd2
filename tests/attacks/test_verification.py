# SPDX-License-Identifier: Apache-2.0
"""Attacks on a verifier: each part of a signed file's proof swapped, removed or edited makes a check fail, by name."""

from __future__ import annotations

import base64
import dataclasses
import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signwright.errors import LimitError, MalformedError
from signwright.model.digest import sha256_hex
from signwright.policy.intent import requested_operations
from signwright.statements.bundle import LoggedLeaf, ReceiptBundle, Wave, blob, envelope_blob, open_envelope
from signwright.statements.models import Request, parse_statement
from signwright.statements.parse import MAX_MANIFEST
from signwright.transparency.proof import TlogProof
from tests.support.pki import Pki
from tests.support.receipts import SOURCES, Made, SignedWorld, failures
from tests.support.signing import MemoryLog

KINDS = ("pe", "cms", "raw")


@pytest.fixture(scope="module")
def world() -> SignedWorld:
    return SignedWorld()


@pytest.fixture(scope="module")
def other() -> SignedWorld:
    """Another organisation, with the same kinds of everything."""
    return SignedWorld(pki=Pki("other"))


@pytest.fixture(scope="module")
def good(world):
    return {kind: world.make(kind) for kind in KINDS}


def failed(made: Made, world: SignedWorld, **trust: object) -> dict[str, str]:
    return failures(made.checks(world.trust(**trust), at=world.now))


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_file_passes_every_check(good, world, kind):
    assert failed(good[kind], world) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_the_shareable_receipt_passes_and_says_what_was_not_checked(good, world, kind):
    public = good[kind].but(bundle=good[kind].bundle.public())
    checks = public.checks(world.trust(), at=world.now)
    if kind == "raw":
        assert failures(checks) == {"signature": "no-key"}
        return
    assert failures(checks) == {}
    (authorisation,) = [check for check in checks if check.name == "authorisation"]
    assert authorisation.ok is None
    assert "attested by the signer, not re-checked" in authorisation.text


def test_a_program_signed_in_digest_mode_passes_by_the_envelope_in_it(world):
    made = world.make("pe", mode="digest")
    assert made.receipt.content_seen is False
    assert failed(made, world) == {}
    assert failed(made.but(view=world.make("pe").view), world).keys() >= {"file", "operation"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_receipt_of_another_file_is_refused(world, good, kind):
    another = world.make(kind, SOURCES[kind] + b"another", people=("alice", "bob"))
    found = failed(good[kind].but(bundle=another.bundle), world)
    assert found.get("file") == "wrong-file" or found["signature"] == "bad-signature"


def test_a_changed_byte_of_the_file_breaks_its_signature(world, good):
    flipped = bytearray(good["pe"].view)
    flipped[700] ^= 1
    assert "signature" in failed(good["pe"].but(view=bytes(flipped)), world)


def test_a_request_other_than_the_logged_one_is_refused(world, good):
    another = world.request("pe", SOURCES["pe"])
    found = failed(good["pe"].with_authorisation(request=envelope_blob(another)), world)
    assert found == {"authorisation": "not-authorised"}


def test_an_edited_request_is_refused(world, good):
    envelope = open_envelope(good["pe"].bundle.authorisation.request)
    edited = dataclasses.replace(envelope, payload=envelope.payload.replace(b'"release"', b'"test"'))
    found = failed(good["pe"].with_authorisation(request=envelope_blob(edited)), world)
    assert found == {"authorisation": "not-authorised"}


@pytest.mark.parametrize("keep", [0, 1])
def test_stripped_approvals_are_missed(world, good, keep):
    approvals = good["pe"].bundle.authorisation.approvals[:keep]
    assert failed(good["pe"].with_authorisation(approvals=approvals), world) == {"authorisation": "not-authorised"}


def test_one_approval_twice_is_one(world, good):
    first = good["pe"].bundle.authorisation.approvals[0]
    assert failed(good["pe"].with_authorisation(approvals=(first, first)), world) == {"authorisation": "not-authorised"}


def test_an_approval_of_another_request_does_not_count(world, good):
    another = world.make("pe")
    swapped = another.bundle.authorisation.approvals
    assert failed(good["pe"].with_authorisation(approvals=swapped), world) == {"authorisation": "not-authorised"}


def test_one_more_approval_than_was_logged_is_noticed(world, good):
    authorisation = good["pe"].bundle.authorisation
    request = open_envelope(authorisation.request)
    third = world.world.approval(request, "carol", policy=world.policy, checkpoint=world.log.seen)
    found = failed(good["pe"].with_authorisation(approvals=(*authorisation.approvals, envelope_blob(third))), world)
    assert found == {"authorisation": "wrong-intent"}


def test_stripped_evidence_is_missed(world, good):
    assert failed(good["pe"].with_authorisation(evidence=()), world) == {"authorisation": "not-authorised"}


def test_an_infected_verdict_that_was_not_logged_denies(world, good):
    infected = envelope_blob(world.world.scan(SOURCES["pe"], "infected"))
    evidence = (*good["pe"].bundle.authorisation.evidence, infected)
    assert failed(good["pe"].with_authorisation(evidence=evidence), world) == {"authorisation": "not-authorised"}


def test_the_policy_of_another_organisation_is_refused(world, other, good):
    theirs = other.make("pe").bundle.authorisation
    changes = {name: getattr(theirs, name) for name in ("policy_root", "policy", "documents")}
    assert failed(good["pe"].with_authorisation(**changes), world) == {"authorisation": "unknown-policy-root"}


def test_another_policy_under_the_same_root_is_refused(world, other, good):
    theirs = other.make("pe").bundle.authorisation.policy
    assert failed(good["pe"].with_authorisation(policy=theirs), world)["authorisation"] in (
        "too-few-keepers",
        "wrong-policy-root",
    )


def test_an_edited_policy_document_is_refused(world, good):
    documents = dict(good["pe"].bundle.authorisation.documents)
    people = base64.b64decode(documents["people"]).replace(b'"release"', b'"RELEASE"')
    documents["people"] = blob(people)
    assert failed(good["pe"].with_authorisation(documents=documents), world) == {"authorisation": "wrong-document"}


def test_a_missing_policy_document_is_refused(world, good):
    documents = {n: c for n, c in good["pe"].bundle.authorisation.documents.items() if n != "people"}
    assert failed(good["pe"].with_authorisation(documents=documents), world) == {"authorisation": "missing-document"}


def test_another_pinned_policy_root_refuses(world, good):
    assert failed(good["pe"], world, policy_root_sha256="0" * 64) == {"authorisation": "unknown-policy-root"}


def test_a_trial_receipt_does_not_verify_against_a_real_trust_file(world, good):
    assert failed(good["pe"], world, trial=False) == {"receipt": "trial"}


def test_a_real_receipt_does_not_verify_against_a_trial_trust_file():
    world = SignedWorld(trial=False)
    made = world.make("pe")
    assert failures(made.checks(world.trust(), at=world.now)) == {}
    assert failures(made.checks(world.trust(trial=True), at=world.now)) == {"receipt": "trial"}


def test_a_receipt_that_hides_its_trial_is_refused(world):
    made = world.make("pe", receipt_changes={"trial": False})
    found = failed(made, world, trial=False)
    assert found["log"] == "wrong-intent"


def test_a_receipt_signed_by_another_key_is_refused(world):
    made = world.make("pe", receipt_key=Ed25519PrivateKey.generate())
    assert failed(made, world) == {"receipt": "unknown-receipt-key"}


def test_an_edited_receipt_is_refused(world, good):
    envelope = open_envelope(good["pe"].bundle.receipt)
    edited = dataclasses.replace(envelope, payload=envelope.payload.replace(b'"profile":0', b'"profile":2'))
    assert failed(good["pe"].with_bundle(receipt=envelope_blob(edited)), world) == {"receipt": "bad-signature"}


def test_a_log_of_another_key_is_refused(world, other, good):
    assert failed(good["pe"], world, log=other.policy.services.log) == {"log": "unsigned-note"}


def test_a_missing_cosignature_is_refused(world):
    assert failed(world.make("pe", witnesses=[]), world) == {"log": "no-quorum"}


def test_a_cosignature_by_an_unknown_witness_does_not_count(world, other):
    assert failed(world.make("pe", witnesses=[other.log.witness]), world) == {"log": "no-quorum"}


def test_a_fork_that_the_approvers_did_not_see_is_refused(world):
    forked = SignedWorld.__new__(SignedWorld)
    forked.__dict__.update(world.__dict__)
    made_before = world.make("pe")
    forked.log = MemoryLog(world.world)
    forked.log.append(*(b"other leaf" for _ in range(made_before.receipt.intents[0])))
    made = forked.make("pe")
    # Same approvals, but the leaf stands in a shorter log than the approvers saw.
    short = MemoryLog(world.world)
    wave = made.bundle.waves[0]
    index = short.append(wave.intent.leaf_bytes())
    proof = TlogProof(index, tuple(short.tree().inclusion(index)), short.note(world.now))
    moved = Wave(intent=LoggedLeaf(leaf=wave.intent.leaf, proof=blob(proof.encode())), operations=wave.operations)
    assert failed(made.with_bundle(waves=(moved,)), world) == {"log": "wrong-intent"}
    again = made.with_bundle(waves=(moved,), receipt=_with_index(forked, made, index))
    assert failed(again, world) == {"authorisation": "log-rollback"}


def _with_index(world: SignedWorld, made: Made, index: int) -> str:
    from signwright.statements.writing import sign_ed25519, statement_payload

    said = made.receipt.model_copy(update={"intents": (index,)})
    payload = statement_payload(said, [("file.pe", sha256_hex(made.view))])
    return envelope_blob(sign_ed25519(payload, world.world.receipts))


def test_an_inclusion_proof_of_another_leaf_is_refused(world, good):
    another = world.make("pe").bundle.waves[0]
    wave = good["pe"].bundle.waves[0]
    swapped = Wave(intent=LoggedLeaf(leaf=wave.intent.leaf, proof=another.intent.proof), operations=wave.operations)
    assert failed(good["pe"].with_bundle(waves=(swapped,)), world) == {"log": "bad-proof"}


def test_the_intent_of_another_request_is_refused(world, good):
    another = world.make("pe").bundle.waves
    assert failed(good["pe"].with_bundle(waves=another), world) == {"log": "wrong-intent"}


def test_a_signing_time_far_from_the_cosignatures_is_refused(world):
    later = (world.now + timedelta(minutes=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert failed(world.make("pe", leaf_changes={"signing_time": later}), world) == {"log": "wrong-time"}


def test_operations_other_than_the_logged_ones_are_refused(world, good):
    wave = good["pe"].bundle.waves[0]
    rows = json.loads(base64.b64decode(wave.operations))
    rows[0]["digest"] = "sha256:" + "0" * 64
    swapped = Wave(intent=wave.intent, operations=blob(json.dumps(rows).encode()))
    assert failed(good["pe"].with_bundle(waves=(swapped,)), world) == {"log": "wrong-intent"}


def test_a_dishonest_signer_cannot_sign_other_content_than_was_approved(world):
    """Gate, log key, receipt key and signing key all lie together: the approved digest is still not the file's."""
    evil = SOURCES["pe"] + b"evil overlay"
    operations = requested_operations(parse_statement(world.request("pe", evil), Request).predicate)
    made = world.make("pe", operations=operations, signed_source=evil, receipt_changes={"content_sha256": None})
    assert failed(made, world) == {"authorisation": "wrong-operations"}


def test_a_signature_of_another_digest_than_the_logged_one_is_refused(world):
    made = world.make("cms", signed_source=b"something else", receipt_changes={"content_sha256": None})
    assert failed(made, world) == {"operation": "wrong-operation"}


def test_a_signature_by_another_key_is_refused(world):
    made = world.make("cms", signer=world.pki.code_signing("rsa2048"))
    assert failed(made, world) == {"operation": "wrong-key", "conditions": "wrong-receipt"}


def test_a_certificate_of_an_unknown_root_is_refused(world, other):
    made = world.make("cms")
    found = failed(made, world, code_signing_roots=other.trust().code_signing_roots)
    assert found == {"certificate": "certificate-chain"}


def test_a_revoked_certificate_is_refused(world, good):
    crl = world.pki.crl({world.identity.certificate: world.now - timedelta(days=1)})
    assert failures(good["cms"].checks(world.trust(), at=world.now, crls=[crl])) == {
        "certificate": "certificate-revoked"
    }


def test_a_certificate_revoked_after_the_timestamp_still_holds(world, good):
    crl = world.pki.crl({world.identity.certificate: world.now + timedelta(days=1)})
    later = world.now + timedelta(days=300)
    assert failures(good["cms"].checks(world.trust(), at=later, crls=[crl])) == {}


def test_the_timestamp_of_another_signature_is_refused(world):
    found = failed(world.make("cms", stamped_value=b"another signature value"), world)
    assert "timestamp" in found


def test_a_timestamp_of_an_unknown_authority_is_refused(world, other, good):
    found = failed(good["cms"], world, timestamp_authorities=other.trust().timestamp_authorities)
    assert "timestamp" in found


def test_a_timestamp_older_than_the_logged_intent_is_refused(world):
    made = world.make("cms", stamped_at=world.now - timedelta(hours=1))
    assert failed(made, world) == {"conditions": "wrong-time"}


@pytest.mark.parametrize(
    "better",
    [
        {"timestamp": "outside"},
        {"witnesses_outside": 1},
        {"witnesses_local": 2},
        {"policy_version": 99},
        {"certificate": None},
        {"grade": "test"},
        {"log_origin": "elsewhere"},
    ],
    ids=str,
)
def test_a_receipt_that_tells_of_better_conditions_is_refused(world, better):
    assert failed(world.make("cms", receipt_changes=better), world) == {"conditions": "wrong-receipt"}


@pytest.mark.parametrize(
    "better", [{"key_protection": "attested"}, {"sandbox": "strong"}, {"profile": 3}, {"exceptions": ()}], ids=str
)
def test_conditions_that_the_intent_does_not_tell_are_refused(world, better):
    assert failed(world.make("cms", receipt_changes=better), world) == {"log": "wrong-intent"}


@pytest.mark.parametrize("wrong", [{"people": ("alice", "bob", "carol")}, {"source_sha256": "0" * 64}], ids=str)
def test_a_receipt_that_tells_of_other_people_or_sources_is_refused(world, wrong):
    assert failed(world.make("cms", receipt_changes=wrong), world) == {"authorisation": "wrong-receipt"}


def test_another_project_than_the_requests_is_refused(world):
    assert failed(world.make("cms", receipt_changes={"signing_policy": "release"}), world) == {
        "authorisation": "wrong-receipt"
    }


def test_other_approved_content_fails_the_strip_test(world):
    assert failed(world.make("cms", receipt_changes={"content_sha256": "0" * 64}), world) == {"file": "strip-test"}


def test_a_file_without_receipt_says_that_authorisation_is_unknown(world, good):
    checks = good["cms"].but(bundle=None).checks(world.trust(), at=world.now)
    assert failures(checks) == {}
    assert [check.ok for check in checks if check.name == "receipt"] == [None]


def test_an_unsigned_file_is_refused(world, good):
    assert failed(good["pe"].but(view=SOURCES["pe"]), world)["signature"] == "not-signed"


def _text(made: Made) -> bytes:
    return made.bundle.encode()


def test_an_oversize_bundle_is_not_read(good):
    with pytest.raises(LimitError):
        ReceiptBundle.decode(_text(good["cms"]) + b" " * MAX_MANIFEST)


def test_a_deep_bundle_is_not_read():
    with pytest.raises(MalformedError):
        ReceiptBundle.decode(b"[" * 100_000)
    with pytest.raises(MalformedError) as caught:
        ReceiptBundle.decode(b'{"a":' * 20 + b"1" + b"}" * 20)
    assert caught.value.code == "too-deep"


def test_a_bundle_that_says_something_twice_is_not_read(good):
    text = _text(good["cms"]).replace(b'"format":', b'"format": "signwright-receipt/1", "format":')
    with pytest.raises(MalformedError) as caught:
        ReceiptBundle.decode(text)
    assert caught.value.code == "duplicate-member"


def test_a_bundle_with_an_unknown_member_or_version_is_not_read(good):
    for old, new in ((b'"format"', b'"extra": 1, "format"'), (b"receipt/1", b"receipt/2")):
        with pytest.raises(MalformedError):
            ReceiptBundle.decode(_text(good["cms"]).replace(old, new, 1))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 1 << 20), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_bundle_never_verifies_wrongly(world, good, at, bit):
    made = good["cms"]
    text = bytearray(_text(made))
    text[at % len(text)] ^= 1 << bit
    try:
        bundle = ReceiptBundle.decode(bytes(text))
    except (MalformedError, LimitError):
        return
    if bundle == made.bundle:
        return  # only the white space between members is another
    assert failed(made.but(bundle=bundle), world), f"bit {bit} of byte {at % len(text)}"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 1 << 16), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_signature_never_verifies_wrongly(world, good, at, bit):
    made = good["cms"]
    view = bytearray(made.view)
    view[at % len(view)] ^= 1 << bit
    assert failed(made.but(view=bytes(view)), world)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(end=st.integers(0, 1 << 20))
def test_a_truncated_bundle_is_a_clean_error(good, end):
    text = _text(good["cms"])
    with pytest.raises(MalformedError):
        ReceiptBundle.decode(text[: end % (len(text) - 2)])
