# SPDX-License-Identifier: Apache-2.0
"""Templates: strict about what they are asked, the same bytes every time, nothing out that does not verify."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from asn1crypto import cms as asn1_cms
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from signwright.envelopes import cms, der, id_data
from signwright.envelopes.base import SignerContext
from signwright.envelopes.indirect_data import KINDS, PACKAGE_KINDS
from signwright.envelopes.templates import TEMPLATES, template_named
from signwright.errors import MalformedError, SignwrightError, VerificationError
from signwright.model.operation import Operation, Parameter
from tests.support.pki import NOW, Identity, default_pki, public_bytes

KEYS = ("rsa3072", "p256", "p384", "p521")
#: Every template with the keys that it takes.
TAKEN = [(name, key) for name in sorted(TEMPLATES) for key in KEYS if name != "nuget" or key.startswith("rsa")]
#: Stands for a timestamp token, which is a ContentInfo: it is copied, never read.
TOKEN = der.sequence(der.oid(cms.DATA), der.explicit(0, der.octet_string(b"token")))


def signer(key_type: str = "p256") -> Identity:
    return default_pki().code_signing(key_type)


def operation(template: str, *, digest: str = "sha256", **parameters: Parameter) -> Operation:
    value = hashlib.new(digest, b"content").hexdigest()
    return Operation(template=template, digest=f"{digest}:{value}", parameters=parameters)


def signed(one: Operation, identity: Identity, *, token: bytes | None = None) -> bytes:
    template = TEMPLATES[one.template]
    context = identity.context()
    return template.envelope(one, context, identity.sign(template.to_be_signed(one, context)), token)


def refusal(one: Operation, context: SignerContext) -> str:
    with pytest.raises(MalformedError) as problem:
        TEMPLATES[one.template].to_be_signed(one, context)
    return problem.value.code


def test_table_names_its_templates() -> None:
    assert {name: (t.family, t.purpose) for name, t in TEMPLATES.items()} == {
        **{f"authenticode-{kind}": ("cms", "authenticode") for kind in KINDS},
        **{f"authenticode-{kind}": ("cms", "authenticode") for kind in PACKAGE_KINDS},
        "authenticode-catalog": ("cms", "authenticode"),
        "authenticode-pe-pages": ("cms", "authenticode"),
        "cms-detached": ("cms", "file"),
        "jar": ("cms", "jar"),
        "nuget": ("cms", "nuget"),
        "raw": ("raw", "raw"),
    }
    with pytest.raises(MalformedError):
        template_named("cms-noattr")


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_unknown_parameter_is_refused(template: str) -> None:
    assert refusal(operation(template, signing_time="now"), signer().context()) == "bad-parameter"


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_operation_of_another_template_is_refused(template: str) -> None:
    other = operation(template).model_copy(update={"template": "other"})
    with pytest.raises(MalformedError) as problem:
        TEMPLATES[template].to_be_signed(other, signer().context())
    assert problem.value.code == "bad-operation"


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"kind": "msi"}, "bad-parameter"),
        ({"kind": True}, "bad-parameter"),
        ({"kind": ""}, "bad-parameter"),
        ({"description": 1}, "bad-parameter"),
        ({"description": ""}, "bad-parameter"),
        ({"description": "right\u202eleft"}, "bad-text"),
        ({"description": "bell\x07"}, "bad-text"),
        ({"description": "\U0001f600"}, "malformed"),
        ({"url": False}, "bad-parameter"),
        ({"url": "ftp://example.org"}, "bad-parameter"),
        ({"url": "https://example.org/ space"}, "bad-parameter"),
        ({"url": "https://\u00e9xample.org"}, "bad-parameter"),
        ({"url": "javascript:alert(1)"}, "bad-parameter"),
        ({"url": "https://example.org\n"}, "bad-text"),
    ],
)
def test_wrong_authenticode_parameter_is_refused(parameters: dict[str, Parameter], code: str) -> None:
    one = operation("authenticode-pe")
    one = one.model_copy(update={"parameters": {**one.parameters, **parameters}})
    assert refusal(one, signer().context()) == code


def test_each_kind_of_file_is_bound_to_its_digest() -> None:
    """One digest, one key: no signature of one kind of file holds for another."""
    contents = {
        TEMPLATES[f"authenticode-{kind}"].to_be_signed(operation(f"authenticode-{kind}"), signer().context()).content
        for kind in KINDS
    }
    assert len(contents) == len(KINDS)


@pytest.mark.parametrize(
    "digest", ["sha1:" + "11" * 20, "md5:" + "11" * 16, "sha256:" + "11" * 31, "sha256:" + "AA" * 32]
)
def test_weak_or_misshapen_digest_cannot_be_said(digest: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        Operation(template="raw", digest=digest)


@pytest.mark.parametrize(("template", "key_type"), TAKEN)
def test_same_operation_and_context_give_the_same_bytes(template: str, key_type: str) -> None:
    context = signer(key_type).context()
    first, second = (TEMPLATES[template].to_be_signed(operation(template), context) for _ in range(2))
    assert first == second


def test_signing_time_is_the_context_s_and_stands_in_file_signatures_only() -> None:
    later = replace(signer().context(), signing_time=NOW + timedelta(seconds=1))
    for template, depends in (("cms-detached", True), ("authenticode-pe", False), ("raw", False)):
        one = operation(template)
        now = TEMPLATES[template].to_be_signed(one, signer().context())
        assert (now != TEMPLATES[template].to_be_signed(one, later)) is depends, template


@pytest.mark.parametrize("template", ["authenticode-pe", "cms-detached"])
@pytest.mark.parametrize("key_type", KEYS)
@pytest.mark.parametrize("token", [None, TOKEN])
def test_envelope_is_der_to_the_last_byte(template: str, key_type: str, token: bytes | None) -> None:
    envelope = signed(operation(template, digest="sha384"), signer(key_type), token=token)
    assert asn1_cms.ContentInfo.load(envelope, strict=True).dump() == envelope
    _check_der(envelope)


def _check_der(encoding: bytes) -> None:
    """Every constructed element splits into strict elements, and universal SETs are in order."""
    element = der.read_element(encoding)
    if not element.tag & 0x20:
        return
    children = der.read_all(element.content)
    if element.tag == der.SET:
        encodings = [child.encoded for child in children]
        assert encodings == sorted(encodings)
    for child in children:
        _check_der(child.encoded)


def test_attributes_under_the_key_are_those_that_stand_in_the_envelope() -> None:
    one = operation("cms-detached")
    under_key = TEMPLATES["cms-detached"].to_be_signed(one, signer().context()).content
    (info,) = asn1_cms.ContentInfo.load(signed(one, signer()))["content"]["signer_infos"]
    assert (under_key[0], info["signed_attrs"].dump()[0]) == (0x31, 0xA0)
    assert info["signed_attrs"].dump()[1:] == under_key[1:]
    kinds = {attribute["type"].dotted for attribute in info["signed_attrs"]}
    assert kinds == {cms.CONTENT_TYPE, cms.MESSAGE_DIGEST, id_data.SIGNING_TIME, id_data.SIGNING_CERTIFICATE_V2}


@pytest.mark.parametrize(
    ("template", "place"),
    [("authenticode-pe", "1.3.6.1.4.1.311.3.3.1"), ("cms-detached", "1.2.840.113549.1.9.16.2.14")],
)
def test_token_is_copied_into_the_attribute_of_the_family(template: str, place: str) -> None:
    (info,) = asn1_cms.ContentInfo.load(signed(operation(template), signer(), token=TOKEN))["content"]["signer_infos"]
    (attribute,) = info["unsigned_attrs"]
    assert attribute["type"].dotted == place
    assert TOKEN in attribute.dump()


@pytest.mark.parametrize("token", [b"", b"\x30", TOKEN + b"\x00", TOKEN[1:], b"\x04\x00"])
def test_token_that_is_not_one_sequence_is_refused(token: bytes) -> None:
    for template in ("authenticode-pe", "cms-detached"):
        with pytest.raises(MalformedError):
            signed(operation(template), signer(), token=token)


def test_raw_has_no_place_for_a_token() -> None:
    with pytest.raises(MalformedError):
        signed(operation("raw"), signer(), token=TOKEN)


@pytest.mark.parametrize(("template", "key_type"), [pair for pair in TAKEN if pair[1] in {"rsa3072", "p256"}])
def test_value_that_does_not_verify_never_leaves(template: str, key_type: str) -> None:
    """A faulty RSA-CRT signature would give the private key away; one for other content would be a forgery."""
    one, identity = operation(template), signer(key_type)
    context = identity.context()
    value = identity.sign(TEMPLATES[template].to_be_signed(one, context))
    other = operation(template, digest="sha512")
    faulty = value[:-1] + bytes([value[-1] ^ 1])
    for asked, given_value in ((one, faulty), (one, b""), (one, value + b"\x00"), (other, value)):
        with pytest.raises(VerificationError):
            TEMPLATES[template].envelope(asked, context, given_value, None)


def test_certificate_of_another_key_is_refused() -> None:
    context = replace(signer("p256").context(), public_key=signer("p384").public_key)
    for template in ("authenticode-pe", "cms-detached"):
        assert refusal(operation(template), context) == "bad-certificate"


@pytest.mark.parametrize("change", ["empty", "twice", "junk", "cut"])
def test_chain_that_is_no_chain_is_refused(change: str) -> None:
    leaf, intermediate = signer().chain
    chain = {
        "empty": (),
        "twice": (leaf, intermediate, intermediate),
        "junk": (leaf, b"junk"),
        "cut": (leaf, intermediate[:-1]),
    }[change]
    for template in ("authenticode-pe", "cms-detached"):
        with pytest.raises(MalformedError):
            TEMPLATES[template].to_be_signed(operation(template), replace(signer().context(), chain=chain))


def test_ed25519_signs_files_over_sha512_and_nothing_else() -> None:
    identity = signer("ed25519")
    assert signed(operation("cms-detached", digest="sha512"), identity)
    assert refusal(operation("cms-detached", digest="sha256"), identity.context()) == "bad-digest"
    assert refusal(operation("raw", digest="sha512"), identity.context()) == "bad-key"
    assert refusal(operation("authenticode-pe", digest="sha512"), identity.context()) == "bad-key"


def test_short_rsa_key_is_refused() -> None:
    weak = public_bytes(rsa.generate_private_key(public_exponent=65537, key_size=1024))
    assert refusal(operation("raw"), replace(signer().context(), public_key=weak)) == "bad-key"


@given(public_key=st.binary(max_size=120))
def test_garbage_instead_of_a_public_key_is_a_clean_error(public_key: bytes) -> None:
    for template in TEMPLATES:
        with pytest.raises(SignwrightError):
            TEMPLATES[template].to_be_signed(operation(template), replace(signer().context(), public_key=public_key))


@given(name=st.text(max_size=60), url=st.text(max_size=60))
def test_any_text_is_signed_or_refused_cleanly(name: str, url: str) -> None:
    for parameters in ({"description": name}, {"url": "https://" + url}):
        try:
            tbs = TEMPLATES["authenticode-pe"].to_be_signed(
                operation("authenticode-pe", **parameters), signer().context()
            )
        except MalformedError:
            continue
        _check_der(tbs.content)


@pytest.mark.parametrize("url", ["https://example.org", "http://example.org/path?query=1#part"])
def test_web_address_goes_into_the_program_information(url: str) -> None:
    content = (
        TEMPLATES["authenticode-pe"].to_be_signed(operation("authenticode-pe", url=url), signer().context()).content
    )
    assert url.encode() in content
