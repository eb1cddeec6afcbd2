# SPDX-License-Identifier: Apache-2.0
"""Statements that travel between keepers: who signed is verified, and a file that is none is refused by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signwright.client.partial import check_keeper, read_partial, standing, with_signature, write_partial
from signwright.client.ssh_keys import PersonKey, load_person_key, make_key_files
from signwright.errors import ConfigurationError, DeniedError, SignwrightError, VerificationError
from signwright.policy.write import draft_root
from signwright.statements.dsse import Envelope, EnvelopeSignature
from signwright.statements.models import Role
from signwright.statements.writing import public_text
from tests.support.roots import Keepers
from tests.support.world import ssh_line

KEEPERS = Keepers()
PAYLOAD = draft_root(KEEPERS.root(2, ("anna", "ben")))
ROLE = KEEPERS.role(("anna", "ben", "cleo"), 2)


@pytest.fixture
def person(tmp_path: Path) -> PersonKey:
    make_key_files(tmp_path / "key", comment="somebody")
    return load_person_key(tmp_path / "key", lambda _: "")


def test_draft_without_signatures_comes_back_as_it_went(tmp_path: Path) -> None:
    for envelope in (Envelope(PAYLOAD, ()), KEEPERS.sign_root(KEEPERS.root(2, ("anna",)), "anna", "ben")):
        write_partial(tmp_path / "draft.json", envelope)
        assert read_partial(tmp_path / "draft.json") == envelope


def test_whoever_signs_again_replaces_their_signature(person: PersonKey) -> None:
    once = with_signature(Envelope(PAYLOAD, ()), "policy-root", person)
    other = KEEPERS.sign_root(KEEPERS.root(2, ("anna", "ben")), "ben").signatures
    twice = with_signature(Envelope(PAYLOAD, (*other, *once.signatures)), "policy-root", person)
    assert [s.keyid for s in twice.signatures] == [other[0].keyid, person.public.fingerprint]


def test_standing_tells_who_is_missing() -> None:
    envelope = KEEPERS.sign_root(KEEPERS.root(2, ("anna", "ben")), "ben", "mallory")
    found = standing(envelope, "policy-root", ROLE)
    assert (found.wanted, len(found.signed), len(found.missing), found.reached) == (2, 1, 2, False)
    assert str(found).startswith(f"1 of 2 signed ({found.signed[0]}); 1 more of ")
    whole = standing(KEEPERS.sign_root(KEEPERS.root(2, ("anna", "ben")), "ben", "cleo"), "policy-root", ROLE)
    assert whole.reached
    assert "more of" not in str(whole)


def test_one_key_in_two_written_forms_is_missing_once() -> None:
    key = KEEPERS.keys["anna"]
    role = Role(threshold=2, keys=(ssh_line(key), public_text(key)))
    signed = KEEPERS.sign_root(KEEPERS.root(2, ("anna",)), "anna")
    assert standing(signed, "policy-root", role).missing == ()
    assert not standing(signed, "policy-root", role).reached
    assert len(standing(Envelope(PAYLOAD, ()), "policy-root", role).missing) == 1


def test_keepers_signature_that_does_not_hold_is_an_error_and_not_a_missing_one() -> None:
    signed = KEEPERS.sign_root(KEEPERS.root(2, ("anna", "ben")), "anna")
    with pytest.raises(VerificationError):
        standing(Envelope(PAYLOAD.replace(b"Example", b"Exarnpl"), signed.signatures), "policy-root", ROLE)


def test_key_of_no_role_is_refused_before_it_signs(person: PersonKey) -> None:
    with pytest.raises(DeniedError, match="is not a root keeper's"):
        check_keeper(person, [ROLE], "a root keeper")
    check_keeper(person, [ROLE, Role(threshold=1, keys=(person.public.line,))], "a root keeper")


ANNAS = draft_root(KEEPERS.root(2, ("anna",)))
WHOLE = KEEPERS.sign_root(KEEPERS.root(2, ("anna",)), "anna").encode()


def test_every_cut_of_a_draft_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "draft.json"
    for length in range(len(WHOLE)):
        file.write_bytes(WHOLE[:length])
        with pytest.raises(ConfigurationError, match=r"draft\.json"):
            read_partial(file)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(WHOLE) - 1), bit=st.integers(0, 7))
def test_flipped_bit_never_counts_as_a_signature(tmp_path: Path, at: int, bit: int) -> None:
    changed = bytearray(WHOLE)
    changed[at] ^= 1 << bit
    (tmp_path / "draft.json").write_bytes(changed)
    try:
        found = read_partial(tmp_path / "draft.json")
        signed = standing(found, "policy-root", KEEPERS.role(("anna",))).signed
    except SignwrightError:
        return
    assert not signed or found.payload == ANNAS


@pytest.mark.parametrize(
    "change",
    [
        {"payload": 7},
        {"payload": "not base64!"},
        {"payloadType": "text/plain"},
        {"extra": 1},
        {"signatures": [{"keyid": "", "scheme": "sshsig", "sig": "AAAA"}] * 17},
        {"signatures": [{"keyid": "", "scheme": "sshsig"}]},
        {"signatures": [{"keyid": "", "scheme": "sshsig", "sig": "AB=="}]},
    ],
    ids=str,
)
def test_file_that_is_no_envelope_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    file = tmp_path / "draft.json"
    file.write_text(json.dumps({**json.loads(WHOLE), **change}), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"draft\.json"):
        read_partial(file)


def test_file_that_is_too_large_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "draft.json").write_bytes(b" " * (1 << 20))
    with pytest.raises(ConfigurationError, match=r"draft\.json"):
        read_partial(tmp_path / "draft.json")
    with pytest.raises(ConfigurationError, match="No such file"):
        read_partial(tmp_path / "nothing.json")


def test_signature_of_an_unknown_scheme_counts_for_nothing() -> None:
    (one,) = KEEPERS.sign_root(KEEPERS.root(2, ("anna",)), "anna").signatures
    strange = Envelope(ANNAS, (EnvelopeSignature("SHA256:somebody", "pgp", one.value),))
    assert standing(strange, "policy-root", ROLE).signed == ()
