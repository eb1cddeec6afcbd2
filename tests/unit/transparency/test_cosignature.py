# SPDX-License-Identifier: Apache-2.0
"""Cosignatures and quorums, against a checkpoint that public witnesses cosigned."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from signwright.errors import ConfigurationError, UsageError, VerificationError
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.cosignature import LogTrust, Quorum, WitnessKey, cosignature_message
from signwright.transparency.note import COSIGNATURE_V1, Note, NoteSignature, VerifierKey, parse_note
from signwright.transparency.signing import add_signatures, cosign, sign_checkpoint
from tests.support.logs import NOW, ORIGIN, MemoryLog, log_key, trust_in, witness_key, witness_signer

PUBLIC_NOTE = (
    "arche2025h1.staging.ct.transparency.dev\n1432088532\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\n"
    "— arche2025h1.staging.ct.transparency.dev "
    "zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lv"
    "Gt0=\n"
    "— arche2025h1.staging.ct.transparency.dev "
    "ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=\n"
    "— transparency.dev/DEV:witness-little-garden "
    "2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==\n"
    "— witness1.smartit.nu/witness1 "
    "pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==\n"
    "— remora.n621.de "
    "2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==\n"
    "— witness.stagemole.eu "
    "Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==\n"
).encode()
PUBLIC_LOG = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
PUBLIC_WITNESSES = [
    "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
    "witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO",
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
]


def public_trust() -> LogTrust:
    keys = [VerifierKey.parse(text, algorithm=COSIGNATURE_V1) for text in PUBLIC_WITNESSES]
    witnesses = tuple(WitnessKey(key.name, key.public_key, key.name, outside=True) for key in keys)
    origin = "arche2025h1.staging.ct.transparency.dev"
    return LogTrust(origin, (VerifierKey.parse(PUBLIC_LOG),), Quorum(witnesses, outside=4, local=0))


def test_cosignatures_of_public_witnesses_verify():
    witnessed = public_trust().verify(PUBLIC_NOTE)
    assert witnessed.checkpoint.size == 1432088532
    assert witnessed.cosigned.outside == 4
    assert witnessed.cosigned.median_time == datetime.fromtimestamp(0x6A122120, UTC)


def test_the_message_is_that_of_the_specification():
    checkpoint = Checkpoint.parse(
        b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )
    assert cosignature_message(checkpoint.text(), 1679315147) == (
        b"cosignature/v1\ntime 1679315147\n"
        b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )


def test_a_quorum_of_outside_witnesses_is_counted():
    trust = trust_in(witness_key("a"), witness_key("b"), witness_key("c"), outside=2)
    note = MemoryLog([b"x"]).note(witnesses=["a", "c"])
    cosigned = trust.verify(note).cosigned
    assert (cosigned.outside, cosigned.local, cosigned.witnesses) == (2, 0, ("a", "c"))


def test_a_cosignature_that_held_before_is_refused_from_another_key_and_in_the_future():
    note = MemoryLog([b"x"]).note(witnesses=["a"])
    for _ in range(2):
        assert trust_in(witness_key("a"), outside=1).verify(note).cosigned.outside == 1
        with pytest.raises(VerificationError) as future:
            trust_in(witness_key("a"), outside=1).verify(note, latest=NOW - timedelta(days=1))
        with pytest.raises(VerificationError) as other:
            trust_in(witness_key("b"), outside=1).verify(note)
        assert (future.value.code, other.value.code) == ("cosigned-in-the-future", "no-quorum")


def test_too_few_cosignatures_are_refused():
    trust = trust_in(witness_key("a"), witness_key("b"), outside=2)
    with pytest.raises(VerificationError, match="outside 1 / local 0; wanted outside 2") as problem:
        trust.verify(MemoryLog([b"x"]).note(witnesses=["a"]))
    assert problem.value.code == "no-quorum"


def test_one_witness_twice_counts_once_with_its_earlier_time():
    log = MemoryLog([b"x"])
    later = cosign(log.checkpoint(), witness_signer("a"), time=NOW + timedelta(minutes=7))
    note = add_signatures(log.note(witnesses=["a"]), [later])
    assert trust_in(witness_key("a"), outside=1).verify(note).cosigned.times == (NOW,)
    with pytest.raises(VerificationError):
        trust_in(witness_key("a"), witness_key("b"), outside=2).verify(note)


def test_one_operator_with_two_witnesses_counts_once():
    witnesses = [witness_key("a", operator="one"), witness_key("b", operator="one"), witness_key("c", operator="two")]
    note = MemoryLog([b"x"]).note(witnesses=["a", "b"])
    with pytest.raises(VerificationError, match="outside 1"):
        trust_in(*witnesses, outside=2).verify(note)


def test_a_local_witness_does_not_count_as_outside():
    local, outside = witness_key("local", outside=False), witness_key("far")
    note = MemoryLog([b"x"]).note(witnesses=["local"])
    with pytest.raises(VerificationError, match="outside 0 / local 1; wanted outside 1"):
        trust_in(local, outside, outside=1).verify(note)
    assert trust_in(local, outside, local=1).verify(note).cosigned.local == 1


def test_an_outside_witness_does_not_count_as_local():
    note = MemoryLog([b"x"]).note(witnesses=["far"])
    with pytest.raises(VerificationError, match="wanted outside 0 / local 1"):
        trust_in(witness_key("far"), witness_key("near", outside=False), local=1).verify(note)


def test_unknown_witnesses_do_not_count():
    note = MemoryLog([b"x"]).note(witnesses=["stranger", "a"])
    cosigned = trust_in(witness_key("a"), witness_key("b"), outside=1).verify(note).cosigned
    assert cosigned.witnesses == ("a",)


def test_a_cosignature_of_another_checkpoint_is_refused():
    log = MemoryLog([b"x", b"y"])
    stolen = parse_note(log.note(1, witnesses=["a"])).signatures[1]
    with pytest.raises(VerificationError, match="wrong signature by a"):
        trust_in(witness_key("a"), outside=1).verify(add_signatures(log.note(), [stolen]))


def test_a_changed_time_is_refused():
    log = MemoryLog([b"x"])
    line = parse_note(log.note(witnesses=["a"])).signatures[1]
    moved = NoteSignature(line.name, line.key_id, (int.from_bytes(line.value[:8]) + 60).to_bytes(8) + line.value[8:])
    with pytest.raises(VerificationError):
        trust_in(witness_key("a"), outside=1).verify(add_signatures(log.note(), [moved]))


@pytest.mark.parametrize("value", [b"x", bytes(64), bytes(71), bytes(72), bytes(73), b"\xff" * 72])
def test_a_line_that_is_no_cosignature_is_refused(value: bytes):
    key = witness_key("a").key
    note = add_signatures(MemoryLog([b"x"]).note(), [NoteSignature(key.name, key.key_id, value)])
    with pytest.raises(VerificationError) as problem:
        trust_in(witness_key("a"), outside=1).verify(note)
    assert problem.value.code == "bad-note-signature"


def test_a_plain_signature_by_the_witness_key_is_no_cosignature():
    log = MemoryLog([b"x"])
    plain = witness_signer("a")
    key = witness_key("a").key
    text = log.checkpoint().text()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    value = int(NOW.timestamp()).to_bytes(8) + Ed25519PrivateKey.from_private_bytes(plain.seed).sign(text)
    with pytest.raises(VerificationError):
        trust_in(witness_key("a"), outside=1).verify(
            add_signatures(log.note(), [NoteSignature(key.name, key.key_id, value)])
        )


def test_cosignatures_do_not_replace_the_log_signature():
    log = MemoryLog([b"x"])
    cosignature = cosign(log.checkpoint(), witness_signer("a"), time=NOW)
    with pytest.raises(VerificationError, match="not signed by a known key"):
        trust_in(witness_key("a"), outside=1).verify(Note(log.checkpoint().text(), (cosignature,)).encode())


def test_a_cosignature_from_the_future_is_refused():
    trust = trust_in(witness_key("a"), outside=1)
    note = MemoryLog([b"x"]).note(witnesses=["a"])
    assert trust.verify(note, latest=NOW).cosigned.times == (NOW,)
    with pytest.raises(VerificationError) as problem:
        trust.verify(note, latest=NOW - timedelta(seconds=1))
    assert problem.value.code == "cosigned-in-the-future"


def test_the_median_is_that_of_outside_witnesses_when_there_is_one():
    log = MemoryLog([b"x"])
    times = {"a": 5, "b": 1, "c": 3, "near": -40}
    lines = [
        cosign(log.checkpoint(), witness_signer(name), time=NOW + timedelta(minutes=m)) for name, m in times.items()
    ]
    note = add_signatures(sign_checkpoint(log.checkpoint(), log_key()), lines)
    near = witness_key("near", outside=False)
    outside = [witness_key("a"), witness_key("b"), witness_key("c")]
    assert trust_in(*outside, near, outside=2, local=1).verify(note).cosigned.median_time == NOW + timedelta(minutes=3)
    assert trust_in(*outside[:2], near).verify(note).cosigned.median_time == NOW + timedelta(minutes=1)
    assert trust_in(near, local=1).verify(note).cosigned.median_time == NOW - timedelta(minutes=40)
    assert trust_in().verify(note).cosigned.median_time is None


def test_quorums_that_could_never_be_met_or_be_met_twice_by_one_key_are_refused():
    a = witness_key("a", operator="one")
    same_operator = witness_key("b", operator="one")
    for witnesses, outside, local in [
        ((a,), 2, 0),
        ((a, same_operator), 2, 0),
        ((a,), 0, 1),
        ((a,), -1, 0),
        ((a, a), 1, 0),
        ((a, WitnessKey("b", a.public_key, "two", outside=True)), 1, 0),
        ((a, WitnessKey("a", same_operator.public_key, "two", outside=True)), 1, 0),
    ]:
        with pytest.raises(ConfigurationError):
            Quorum(witnesses, outside, local)


def test_keys_sign_only_what_they_are_for():
    checkpoint = Checkpoint(ORIGIN, 1, bytes(32))
    with pytest.raises(UsageError):
        cosign(checkpoint, log_key(), time=NOW)
    with pytest.raises(UsageError):
        sign_checkpoint(checkpoint, witness_signer("a"))
    with pytest.raises(UsageError):
        cosign(checkpoint, witness_signer("a"), time=datetime(1970, 1, 1, tzinfo=UTC))
