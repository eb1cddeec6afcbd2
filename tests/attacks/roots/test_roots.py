# SPDX-License-Identifier: Apache-2.0
"""Roots and policies that somebody would like to be true: each is refused by every process, for its own reason."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.client.seen_policy import follow_policy
from signwright.errors import SignwrightError
from signwright.hub.policies import open_bundle
from signwright.model.framing import decode_frame
from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.policy.standing import Standing
from signwright.policy.succession import policy_leaf
from signwright.statements.dsse import Envelope, statement_digest
from signwright.statements.models import Role
from signwright.statements.writing import public_text
from signwright.transparency.note import COSIGNATURE_V1
from signwright.transparency.signing import SignerKey
from tests.support.roots import HeldPolicy, Keepers, Offer
from tests.support.world import ssh_line

Lie = Callable[[Keepers], Offer]


def only_the_old_threshold(keepers: Keepers) -> Offer:
    """The old keeper names two new ones who never agreed."""
    root = keepers.root(2, ("ben", "cleo"))
    return keepers.policy(keepers.sign_root(root, "anna"), root, "ben", "cleo", older={1: keepers.genesis})


def only_the_new_threshold(keepers: Keepers) -> Offer:
    """Somebody makes himself keeper."""
    root = keepers.root(2, ("mallory",))
    return keepers.policy(keepers.sign_root(root, "mallory"), root, "mallory", older={1: keepers.genesis})


def one_of_two_of_the_old_threshold(keepers: Keepers) -> Offer:
    """Root 2 wants two; one of them and a stranger make root 3."""
    second = keepers.root(2, ("anna", "ben"))
    two = keepers.sign_root(second, "anna", "ben")
    third = keepers.root(3, ("anna", "mallory"))
    three = keepers.sign_root(third, "anna", "mallory")
    return keepers.policy(three, third, "anna", "mallory", older={1: keepers.genesis, 2: two})


def version_skipped(keepers: Keepers) -> Offer:
    root = keepers.root(3, ("anna", "ben"))
    return keepers.policy(keepers.sign_root(root, "anna", "ben"), root, "anna", "ben", older={1: keepers.genesis})


def version_twice(keepers: Keepers) -> Offer:
    root = keepers.root(1, ("anna", "ben"))
    return keepers.policy(keepers.sign_root(root, "anna", "ben"), root, "anna", "ben", older={1: keepers.genesis})


def trial_mark_taken_off(keepers: Keepers) -> Offer:
    root = keepers.root(2, ("anna",), trial=False)
    return keepers.policy(keepers.sign_root(root, "anna"), root, "anna", older={1: keepers.genesis})


def another_organisation(keepers: Keepers) -> Offer:
    root = keepers.root(2, ("anna",), organisation="Exarnple")
    return keepers.policy(keepers.sign_root(root, "anna"), root, "anna", older={1: keepers.genesis})


def link_left_out(keepers: Keepers) -> Offer:
    """Root 3 comes along without root 2."""
    second, third = keepers.root(2, ("anna", "ben")), keepers.root(3, ("anna", "ben"))
    keepers.sign_root(second, "anna", "ben")
    return keepers.policy(keepers.sign_root(third, "anna", "ben"), third, "anna", "ben", older={1: keepers.genesis})


def without_the_pinned_root(keepers: Keepers) -> Offer:
    root = keepers.root(2, ("anna", "ben"))
    return keepers.policy(keepers.sign_root(root, "anna", "ben"), root, "anna", "ben")


def one_key_in_two_written_forms(keepers: Keepers) -> Offer:
    """As an SSH key and as a machine key: two entries and two signatures of one keeper."""
    forms = (ssh_line(keepers.keys["anna"]), public_text(keepers.keys["anna"]))
    root = keepers.root(2, ("anna",), policy=Role(threshold=2, keys=forms))
    return keepers.policy(keepers.sign_root(root, "anna"), root, "anna", older={1: keepers.genesis})


def one_key_listed_twice(keepers: Keepers) -> Offer:
    forms = (ssh_line(keepers.keys["anna"]), f"{ssh_line(keepers.keys['anna'])} anna@laptop")
    root = keepers.root(2, ("anna",), root=Role(threshold=2, keys=forms))
    return keepers.policy(keepers.sign_root(root, "anna"), root, "anna", older={1: keepers.genesis})


def one_keeper_signs_twice(keepers: Keepers) -> Offer:
    offer = keepers.second()
    twice = keepers.policy(offer.root, keepers.root(2, ("anna", "ben")), "anna", "anna", older={1: keepers.genesis})
    return twice


def policy_of_one_keeper_when_two_are_wanted(keepers: Keepers) -> Offer:
    offer = keepers.second()
    return Offer(offer.root, Envelope(offer.policy.payload, offer.policy.signatures[:1]), offer.documents)


def policy_of_a_keeper_and_a_stranger(keepers: Keepers) -> Offer:
    offer = keepers.second()
    return keepers.policy(offer.root, keepers.root(2, ("anna", "ben")), "anna", "mallory", older={1: keepers.genesis})


def policy_written_for_the_old_root(keepers: Keepers) -> Offer:
    """The new root with a policy statement that names the old one."""
    root = keepers.root(2, ("anna", "ben"))
    envelope = keepers.sign_root(root, "anna", "ben")
    old = keepers.policy(keepers.genesis, keepers.root(1, ("anna",)), "anna", "ben", older={1: keepers.genesis})
    return Offer(envelope, old.policy, old.documents)


def root_of_strangers(keepers: Keepers) -> Offer:
    """Well-formed from end to end, and from another genesis."""
    return Keepers(world=keepers.world).second()


def signature_that_does_not_hold(keepers: Keepers) -> Offer:
    offer = keepers.second()
    first, second = offer.root.signatures
    forged = type(second)(second.keyid, second.scheme, second.value[:-1] + bytes([second.value[-1] ^ 1]))
    return Offer(Envelope(offer.root.payload, (first, forged)), offer.policy, offer.documents)


def older_root_edited(keepers: Keepers) -> Offer:
    """The root before, with other keys, under its old signatures."""
    edited = keepers.genesis.payload.replace(b'"threshold":1', b'"threshold":2', 1)
    root = keepers.root(2, ("anna", "ben"))
    older = {1: Envelope(edited, keepers.genesis.signatures)}
    return keepers.policy(keepers.sign_root(root, "anna", "ben"), root, "anna", "ben", older=older)


def first_root_that_its_keeper_never_signed(keepers: Keepers) -> Offer:
    """The pinned bytes with a stranger's signature."""
    root = keepers.root(2, ("anna", "ben"))
    older = {1: keepers.sign_root(keepers.root(1, ("anna",)), "mallory")}
    return keepers.policy(keepers.sign_root(root, "anna", "ben"), root, "anna", "ben", older=older)


def older_root_in_other_bytes(keepers: Keepers) -> Offer:
    """One signature more on it than the keepers have seen: they signed for exact bytes."""
    offer = keepers.second()
    more = keepers.sign_root(keepers.root(1, ("anna",)), "anna", "mallory")
    return Offer(offer.root, offer.policy, {**offer.documents, "roots/1": more.encode()})


def policy_that_names_the_new_root_by_the_old_number(keepers: Keepers) -> Offer:
    root = keepers.sign_root(keepers.root(2, ("anna", "ben")), "anna", "ben")
    return keepers.policy(root, keepers.root(1, ("anna",)), "anna", "ben", older={1: keepers.genesis})


def policy_of_a_twin_root(keepers: Keepers) -> Offer:
    """Both roots are version 2 of the same keepers."""
    twin = keepers.root(2, ("anna", "ben"), expires=format_time(keepers.world.now + timedelta(days=9)))
    under_twin = keepers.policy(keepers.sign_root(twin, "anna", "ben"), twin, "anna", "ben", older={1: keepers.genesis})
    return Offer(keepers.second().root, under_twin.policy, under_twin.documents)


def root_under_a_name_that_is_no_number(keepers: Keepers) -> Offer:
    offer = keepers.second()
    return Offer(offer.root, offer.policy, {**offer.documents, "roots/x": offer.root.encode()})


def root_under_a_number_in_another_form(keepers: Keepers) -> Offer:
    offer = keepers.second()
    return Offer(offer.root, offer.policy, {**offer.documents, "roots/01": offer.root.encode()})


def root_under_an_endless_number(keepers: Keepers) -> Offer:
    offer = keepers.second()
    return Offer(offer.root, offer.policy, {**offer.documents, "roots/" + "1" * 10: offer.root.encode()})


def document_left_out(keepers: Keepers) -> Offer:
    offer = keepers.second()
    return Offer(offer.root, offer.policy, {n: c for n, c in offer.documents.items() if n != "people"})


def document_exchanged(keepers: Keepers) -> Offer:
    offer, other = keepers.second(), keepers.second(live=True)
    return Offer(offer.root, offer.policy, {**offer.documents, "organisation": other.documents["organisation"]})


def document_of_the_same_length(keepers: Keepers) -> Offer:
    offer = keepers.second()
    edited = offer.documents["organisation"].replace(b'"approvals":2', b'"approvals":1')
    assert edited != offer.documents["organisation"]
    return Offer(offer.root, offer.policy, {**offer.documents, "organisation": edited})


def role_that_nobody_can_fill(keepers: Keepers) -> Offer:
    root = keepers.root(2, ("anna",), freshness=keepers.role(("ben",), 2))
    return keepers.policy(keepers.sign_root(root, "anna"), root, "anna", older={1: keepers.genesis})


def halt_that_takes_two(keepers: Keepers) -> Offer:
    root = keepers.root(2, ("anna", "ben"), panic=keepers.role(("anna", "ben"), 2))
    return keepers.policy(keepers.sign_root(root, "anna", "ben"), root, "anna", "ben", older={1: keepers.genesis})


LIES: dict[Lie, str] = {
    only_the_old_threshold: "too-few-keepers",
    only_the_new_threshold: "too-few-keepers",
    one_of_two_of_the_old_threshold: "too-few-keepers",
    version_skipped: "policy-root-version",
    version_twice: "policy-root-version",
    trial_mark_taken_off: "policy-root-fixed",
    another_organisation: "policy-root-fixed",
    link_left_out: "policy-root-version",
    without_the_pinned_root: "unknown-policy-root",
    one_key_in_two_written_forms: "too-few-keepers",
    one_key_listed_twice: "too-few-keepers",
    one_keeper_signs_twice: "too-few-keepers",
    policy_of_one_keeper_when_two_are_wanted: "too-few-keepers",
    policy_of_a_keeper_and_a_stranger: "too-few-keepers",
    policy_written_for_the_old_root: "wrong-policy-root",
    root_of_strangers: "unknown-policy-root",
    signature_that_does_not_hold: "bad-signature",
    older_root_edited: "unknown-policy-root",
    first_root_that_its_keeper_never_signed: "too-few-keepers",
    older_root_in_other_bytes: "wrong-document",
    policy_that_names_the_new_root_by_the_old_number: "wrong-policy-root",
    policy_of_a_twin_root: "wrong-policy-root",
    root_under_a_name_that_is_no_number: "unknown-document",
    root_under_a_number_in_another_form: "unknown-document",
    root_under_an_endless_number: "unknown-document",
    document_left_out: "missing-document",
    document_exchanged: "wrong-document",
    document_of_the_same_length: "wrong-document",
    role_that_nobody_can_fill: "bad-policy",
    halt_that_takes_two: "bad-policy",
}


def posted(offer: Offer) -> bytes:
    """As somebody hands it to a hub."""
    rows = {name: base64.b64encode(content).decode() for name, content in offer.documents.items()}
    root, policy = (base64.b64encode(envelope.encode()).decode() for envelope in (offer.root, offer.policy))
    return json.dumps({"root": root, "policy": policy, "documents": rows}).encode()


@pytest.fixture
def keepers() -> Keepers:
    return Keepers()


@pytest.fixture
def held(tmp_path: Path, keepers: Keepers) -> HeldPolicy:
    """A keyholder with the first policy in force."""
    found = HeldPolicy(tmp_path, keepers)
    found.offer(keepers.first())
    return found


def test_root_in_due_form_is_taken_by_all(held: HeldPolicy, keepers: Keepers) -> None:
    offer = keepers.second()
    assert held.offer(offer).root.version == 2
    opened = offer.opened(keepers.pinned)
    assert opened.roots == (keepers.pinned, statement_digest("policy-root", offer.root))
    assert open_bundle(posted(offer), pinned_root_sha256=keepers.pinned)[0].sha256 == opened.sha256


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_lie_is_refused_by_signer_and_hub(held: HeldPolicy, keepers: Keepers, lie: Lie) -> None:
    offer, before = lie(keepers), held.policy
    with pytest.raises(SignwrightError) as refused:
        offer.opened(keepers.pinned)
    assert refused.value.code == LIES[lie]
    with pytest.raises(SignwrightError) as refused:
        open_bundle(posted(offer), pinned_root_sha256=keepers.pinned)
    assert refused.value.code == LIES[lie]
    with pytest.raises(SignwrightError) as refused:
        held.offer(offer, leaf=b"{}")
    assert refused.value.code == LIES[lie]
    assert held.standing.in_force() is before


def test_second_root_of_the_same_version_is_a_fork(held: HeldPolicy, keepers: Keepers) -> None:
    """Both are signed by all that is wanted; whoever has one cannot be led to the other."""
    held.offer(keepers.second(("anna", "ben")))
    root = keepers.root(2, ("anna", "cleo"))
    envelope = keepers.sign_root(root, "anna", "cleo")
    fork = keepers.policy(envelope, root, "anna", "cleo", version=3, older={1: keepers.genesis})
    with pytest.raises(SignwrightError) as refused:
        held.offer(fork)
    assert refused.value.code == "root-rollback"


def test_policy_under_the_old_root_counts_no_longer_whatever_its_version(held: HeldPolicy, keepers: Keepers) -> None:
    held.offer(keepers.second(("ben", "cleo")))
    old = keepers.policy(keepers.genesis, keepers.root(1, ("anna",)), "anna", version=9)
    old.opened(keepers.pinned)  # every signature on it holds
    with pytest.raises(SignwrightError) as refused:
        held.offer(old)
    assert refused.value.code == "root-rollback"
    assert held.standing.in_force().version == 2


def test_older_policy_with_its_older_root_does_not_come_back(held: HeldPolicy, keepers: Keepers) -> None:
    held.offer(keepers.second())
    with pytest.raises(SignwrightError) as refused:
        held.offer(keepers.first())
    assert refused.value.code == "policy-rollback"


def test_keyholder_that_was_started_again_remembers_the_new_root(held: HeldPolicy, keepers: Keepers) -> None:
    held.offer(keepers.second(("ben", "cleo")))
    kept = held.state.newest_policy()
    assert kept is not None
    held.standing = Standing(held.state, profile=0, nonce="11" * 16, policy=decode_frame(kept))
    assert held.standing.in_force().root.version == 2
    old = keepers.policy(keepers.genesis, keepers.root(1, ("anna",)), "anna", version=9)
    with pytest.raises(SignwrightError) as refused:
        held.offer(old)
    assert refused.value.code == "root-rollback"


def test_client_that_has_seen_the_new_root_takes_nothing_under_the_old_one(tmp_path: Path, keepers: Keepers) -> None:
    follow_policy(keepers.second(("ben", "cleo")).opened(keepers.pinned), folder=tmp_path)
    old = keepers.policy(keepers.genesis, keepers.root(1, ("anna",)), "anna", version=9)
    with pytest.raises(SignwrightError) as refused:
        follow_policy(old.opened(keepers.pinned), folder=tmp_path)
    assert refused.value.code == "root-rollback"
    with pytest.raises(SignwrightError) as refused:
        follow_policy(keepers.first().opened(keepers.pinned), folder=tmp_path)
    assert refused.value.code == "policy-rollback"


def test_new_keeper_waits_once_the_organisation_is_live(held: HeldPolicy, keepers: Keepers) -> None:
    """Whoever has the root keys cannot take everything over in a moment: it is logged, and it waits."""
    root = keepers.root(1, ("anna",))
    held.offer(keepers.policy(keepers.genesis, root, "anna", version=2, live=True))
    second = keepers.root(2, ("anna", "mallory"))
    envelope = keepers.sign_root(second, "anna", "mallory")
    offer = keepers.policy(envelope, second, "anna", "mallory", version=3, older={1: keepers.genesis}, live=True)
    for hours in (0, 23.9):
        with pytest.raises(SignwrightError) as refused:
            held.offer(offer, hours=hours)
        assert refused.value.code == "policy-waits"
    assert held.offer(offer, hours=24.1).version == 3


def test_live_is_not_taken_back_at_once(held: HeldPolicy, keepers: Keepers) -> None:
    root = keepers.root(1, ("anna",))
    held.offer(keepers.policy(keepers.genesis, root, "anna", version=2, live=True))
    back = keepers.policy(keepers.genesis, root, "anna", version=3, live=False)
    with pytest.raises(SignwrightError) as refused:
        held.offer(back, hours=1)
    assert refused.value.code == "policy-waits"


def test_delay_is_not_shortened_by_the_leaf_that_tells_of_it(held: HeldPolicy, keepers: Keepers) -> None:
    """A gate that lies: the leaf says that nothing became weaker."""
    root = keepers.root(1, ("anna",))
    held.offer(keepers.policy(keepers.genesis, root, "anna", version=2, live=True))
    back = keepers.policy(keepers.genesis, root, "anna", version=3, live=False)
    opened = back.opened(keepers.pinned)
    harmless = policy_leaf(None, opened, now=keepers.world.now).encode()
    with pytest.raises(SignwrightError) as refused:
        held.offer(back, leaf=harmless)
    assert refused.value.code == "wrong-policy-leaf"


def test_policy_does_not_bring_the_witness_that_vouches_for_it(held: HeldPolicy, keepers: Keepers) -> None:
    """The leaf of the next policy is cosigned for whoever follows the policy in force."""
    key = SignerKey("w2", COSIGNATURE_V1, Ed25519PrivateKey.generate().private_bytes_raw())
    own = d.Witness(name="w2", key=str(key.verifier), operator="this host", outside=False)
    keepers.world.with_documents(services=keepers.world.services().model_copy(update={"witnesses": (own,)}))
    offer = keepers.policy(keepers.genesis, keepers.root(1, ("anna",)), "anna")
    with pytest.raises(SignwrightError) as refused:
        held.offer(offer, witnesses=[key])
    assert refused.value.code == "no-quorum"
    assert held.offer(offer).services.witnesses == (own,)


def test_key_that_was_never_enrolled_signs_nothing(held: HeldPolicy, keepers: Keepers) -> None:
    keepers.keys["anna"] = Ed25519PrivateKey.generate()
    with pytest.raises(SignwrightError) as refused:
        held.offer(keepers.first(), leaf=b"{}")
    assert refused.value.code == "too-few-keepers"
