# SPDX-License-Identifier: Apache-2.0
"""One key, one family, the purposes it lists: every template on every kind of key, and what a crossing would give."""

from __future__ import annotations

import hashlib
from itertools import product
from typing import Any

import pytest

from signwright.envelopes.base import SignerContext, ToBeSigned
from signwright.envelopes.templates import TEMPLATES
from signwright.errors import DeniedError, SignwrightError, VerificationError
from signwright.model.operation import Operation
from signwright.model.view import BytesView
from signwright.policy import documents as d
from signwright.policy.decide import decide
from signwright.policy.facts import gather
from signwright.readers.detached import CmsReader
from signwright.statements.models import RequestedArtifact
from tests.attacks.keyholder.test_hostile_gate import CONTENT, Keyholder, honest, keyholder
from tests.support.pki import default_pki
from tests.support.world import NOW, World

__all__ = ["keyholder"]

PURPOSES = {"cms": ["authenticode", "file", "jar", "nuget"], "raw": ["raw"]}
KEYS = [
    *(("cms", purposes) for purposes in (("authenticode",), ("file",), ("jar",), ("nuget",), ("authenticode", "file"))),
    ("raw", ("raw",)),
]


def test_matrix_knows_every_family_and_purpose() -> None:
    assert {(t.family, t.purpose) for t in TEMPLATES.values()} == {(f, p) for f, ps in PURPOSES.items() for p in ps}


@pytest.mark.parametrize(
    ("name", "key"), list(product(sorted(TEMPLATES), KEYS)), ids=lambda v: v if isinstance(v, str) else "-".join(v[1])
)
def test_template_is_allowed_on_a_key_of_its_family_and_purpose_alone(name: str, key: tuple[str, Any]) -> None:
    family, purposes = key
    template, world = TEMPLATES[name], World()
    world.keys["test"] = world.default_key("test", family).model_copy(
        update={"purposes": purposes, "public_key": "AAAB"}
    )
    form = template.formats[0]
    project: d.Project = world.documents()["projects/default"]  # type: ignore[assignment]
    configuration = d.ArtifactConfiguration(rules=(d.ArtifactRule(name="*", format=form),))
    world.with_documents(
        projects_default=project.model_copy(
            update={"artifact_configurations": {**project.artifact_configurations, "programs": configuration}}
        )
    )
    one = RequestedArtifact(size=8, format=form, operations=(world.operation(template=name),))
    policy = world.policy()
    request = world.request("test", artifacts=[one])
    decision = decide(policy, gather(policy, request, approvals=[], evidence=[], now=NOW))
    fits = template.family == family and template.purpose in purposes
    assert decision.outcome == ("allow" if fits else "deny"), decision
    assert fits or {r.rule for r in decision.reasons} <= {"key-family", "key-purpose"}


@pytest.mark.parametrize(("family", "purpose"), [("cms", "raw"), ("raw", "authenticode"), ("raw", "file")])
def test_key_that_lists_a_purpose_of_another_family_makes_the_policy_unusable(family: str, purpose: str) -> None:
    world = World()
    good = world.default_key("test", family)
    world.keys["test"] = good.model_copy(update={"purposes": (*good.purposes, purpose)})
    with pytest.raises(DeniedError, match="is not one of family"):
        world.policy()


def attributes_of_a_program(digest: str) -> bytes:
    """The DER under a real Authenticode signature of the release key."""
    identity = default_pki().code_signing("p256")
    context = SignerContext(identity.chain, identity.public_key, NOW)
    operation = Operation(template="authenticode-pe", digest=digest)
    return TEMPLATES["authenticode-pe"].to_be_signed(operation, context).content


@pytest.mark.parametrize("form", ["pe", "raw"])
def test_attributes_of_a_program_as_raw_on_its_key_are_refused(keyholder: Keyholder, form: str) -> None:
    """Design 3.7: a raw signature of DER attributes is a CMS signature."""
    digest = "sha256:" + hashlib.sha256(attributes_of_a_program("sha256:" + "ee" * 32)).hexdigest()
    one = RequestedArtifact(
        size=len(CONTENT), format=form, operations=(Operation(template="raw", digest=digest, parameters={}),)
    )
    request = keyholder.signer.world.request(files={"a.exe": CONTENT}, artifacts=[one])
    message, _ = keyholder.ask(*honest(keyholder.signer, request=request))
    assert message["ok"] is False
    assert "key-family" in {reason["rule"] for reason in message["reasons"]}
    assert keyholder.operations == 0


def test_attributes_of_a_program_as_the_digest_of_a_file_are_signed_inside_other_attributes() -> None:
    """What the key signs then names id-data and a digest, and is never the attributes themselves."""
    attributes = attributes_of_a_program("sha256:" + "ee" * 32)
    identity = default_pki().code_signing("p256")
    context = SignerContext(identity.chain, identity.public_key, NOW)
    operation = Operation(template="cms-detached", digest="sha256:" + hashlib.sha256(attributes).hexdigest())
    signed = TEMPLATES["cms-detached"].to_be_signed(operation, context)
    assert not signed.prehashed
    assert attributes not in signed.content
    assert bytes.fromhex("06092a864886f70d010701") in signed.content
    assert bytes.fromhex("060a2b060104018237020104") not in signed.content


def test_signature_of_a_raw_key_is_none_under_the_certificate_of_another() -> None:
    pki = default_pki()
    honest_key, raw_key = pki.code_signing("rsa2048"), pki.code_signing("rsa2048", "Raw key")
    context = SignerContext(honest_key.chain, honest_key.public_key, NOW)
    digest = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    template = TEMPLATES["cms-detached"]
    operation = Operation(template="cms-detached", digest=digest)
    signed = template.to_be_signed(operation, context)
    value = honest_key.sign(signed)
    hashed = ToBeSigned(hashlib.sha256(signed.content).digest(), "sha256", prehashed=True)
    crossing = raw_key.sign(hashed)
    with pytest.raises(VerificationError):
        template.envelope(operation, context, crossing, None)
    envelope = template.envelope(operation, context, value, None)
    assert envelope.count(value) == 1
    reader = CmsReader()
    assert reader.read(BytesView(envelope), BytesView(CONTENT)).signatures
    with pytest.raises(SignwrightError):
        reader.read(BytesView(envelope.replace(value, crossing)), BytesView(CONTENT))
