# SPDX-License-Identifier: Apache-2.0
"""Who may be called an outside witness, in a policy and in a trust file alike."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.client.trust import TrustFile, load_trust
from signwright.errors import ConfigurationError, DeniedError
from signwright.policy import documents as d
from signwright.statements.writing import public_text
from signwright.transparency.note import COSIGNATURE_V1, VerifierKey
from tests.support.world import World


def witness(name: str, operator: str, *, outside: bool = True, raw: bytes = b"") -> d.Witness:
    raw = (
        raw
        or Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()).public_key().public_bytes_raw()
    )
    return d.Witness(name=name, key=str(VerifierKey(name, COSIGNATURE_V1, raw)), operator=operator, outside=outside)


def raw_of(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes_raw()


def opened(*witnesses: d.Witness, outside: int = 1, local: int = 1, world: World | None = None) -> World:
    world = world or World()
    world.witnesses = (*world.witnesses, *witnesses)
    services = world.services().model_copy(update={"quorum": d.Quorum(outside=outside, local=local)})
    world.overrides["services"] = services
    return world


def trust_of(world: World) -> TrustFile:
    services = world.documents()["services"]
    assert isinstance(services, d.Services)
    return TrustFile(
        organisation="Example",
        trial=True,
        policy_root_sha256="0" * 64,
        log=services.log,
        witnesses=services.witnesses,
        quorum=services.quorum,
        receipt_keys=services.receipt_keys,
    )


def refused_by_both(world: World, file: Path) -> str:
    """What the policy says; the trust file says it too."""
    with pytest.raises(DeniedError) as denied:
        world.policy()
    file.write_bytes(trust_of(world).encode())
    with pytest.raises(ConfigurationError) as refused:
        load_trust(file)
    said = denied.value.message.removeprefix("policy: services: ")
    assert said.split(" that of ")[0] in refused.value.message
    assert refused.value.code == "bad-trust-file"
    return said


def test_witness_of_somebody_else_is_outside(tmp_path: Path) -> None:
    world = opened(witness("w2", "Other Ltd"))
    assert world.policy().log_trust.quorum.outside == 1
    (tmp_path / "trust.json").write_bytes(trust_of(world).encode())
    assert load_trust(tmp_path / "trust.json").log_trust.quorum.outside == 1


@pytest.mark.parametrize(
    "operator",
    ["this machine", "This-Machine", "THIS  HOST", "localhost", "127.0.0.1", "::1", "here", "us", "Signer host", "…"],
)
def test_words_that_name_nobody_else_are_not_outside(tmp_path: Path, operator: str) -> None:
    said = refused_by_both(opened(witness("w2", operator)), tmp_path / "trust.json")
    assert "names nobody else" in said or "runs a local witness" in said


@pytest.mark.parametrize("operator", ["Example", "example", " EXAMPLE. ", "Ｅxample"])
def test_own_organisation_in_any_spelling_is_not_outside(tmp_path: Path, operator: str) -> None:
    assert "this organisation's own" in refused_by_both(opened(witness("w2", operator)), tmp_path / "trust.json")


def test_operator_of_a_local_witness_is_not_outside(tmp_path: Path) -> None:
    rows = (witness("w2", "Build room", outside=False), witness("w3", "build-room"))
    assert "runs a local witness and cannot be outside" in refused_by_both(opened(*rows), tmp_path / "trust.json")


def test_two_witnesses_of_one_operator_are_one(tmp_path: Path) -> None:
    rows = (witness("w2", "Other Ltd"), witness("w3", "OTHER LTD."))
    said = refused_by_both(opened(*rows, outside=2), tmp_path / "trust.json")
    assert "there are 1 outside operators" in said


def test_two_local_witnesses_of_one_operator_are_one(tmp_path: Path) -> None:
    local = World().witnesses[0].operator
    said = refused_by_both(opened(witness("w2", local, outside=False), outside=0, local=2), tmp_path / "trust.json")
    assert "1 local ones" in said


@pytest.mark.parametrize("owner", ["the log", "gate", "a receipt key", "scanner"])
def test_key_of_an_own_process_is_no_outside_witness(tmp_path: Path, owner: str) -> None:
    base = World()
    raw = {
        "the log": VerifierKey.parse(base.log_key).public_key,
        "gate": raw_of(base.gate),
        "a receipt key": raw_of(base.receipts),
        "scanner": raw_of(base.scanner),
    }[owner]
    world = opened(witness("w2", "Other Ltd", raw=raw), world=base)
    if owner in ("the log", "a receipt key"):
        assert "witness w2: its key is also that of" in refused_by_both(world, tmp_path / "trust.json")
    else:
        with pytest.raises(DeniedError, match=f"witness w2: its key is also that of {owner}"):
            world.policy()


def test_key_of_a_local_witness_is_no_outside_witness(tmp_path: Path) -> None:
    base = World()
    local = VerifierKey.parse(base.witnesses[0].key, algorithm=COSIGNATURE_V1).public_key
    said = refused_by_both(opened(witness("w2", "Other Ltd", raw=local), world=base), tmp_path / "trust.json")
    assert "share a name or a key" in said


def test_trust_file_with_a_broken_key_is_refused_when_it_is_read(tmp_path: Path) -> None:
    trust = trust_of(opened(witness("w2", "Other Ltd")))
    broken = trust.model_copy(
        update={"log": d.LogIdentity(origin="a", key="a+00000000+" + base64.b64encode(b"x").decode())}
    )
    (tmp_path / "trust.json").write_bytes(broken.encode())
    with pytest.raises(ConfigurationError, match="verifier key"):
        load_trust(tmp_path / "trust.json")
    odd = trust.model_copy(update={"receipt_keys": (public_text(Ed25519PrivateKey.generate()), "ed25519:AAAA")})
    (tmp_path / "trust.json").write_bytes(odd.encode())
    with pytest.raises(ConfigurationError, match=r"receipt_keys\.1"):
        load_trust(tmp_path / "trust.json")
