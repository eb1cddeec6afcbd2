# SPDX-License-Identifier: Apache-2.0
"""The one parser, DSSE envelopes, SSHSIG and machine keys: what is refused, and what outside programs say of ours."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import ConfigurationError, LimitError, MalformedError, SignwrightError, VerificationError
from signwright.model.base64text import strict_base64
from signwright.statements.bundle import ReceiptBundle, _indented
from signwright.statements.dsse import PAYLOAD_TYPE, Envelope, EnvelopeSignature, pae, parse_envelope, statement_digest
from signwright.statements.keyfile import load_seed, seed_text
from signwright.statements.keys import key_id_of, verify_envelope, verifying_key
from signwright.statements.models import Approval, Request, ScanEvidence, parse_statement, predicate_name
from signwright.statements.parse import MAX_DEPTH, MAX_STATEMENT, strict_json
from signwright.statements.ssh_signing import sign_sshsig
from signwright.statements.sshsig import (
    SK_ECDSA,
    SK_ED25519,
    SshPublicKey,
    to_be_signed,
    verify_sshsig,
)
from signwright.statements.writing import public_text, sign_ed25519
from tests.support.tools import require_tool
from tests.support.world import World, key_id, sign_ssh, ssh_line

WORLD = World()
POLICY = WORLD.policy()
REQUEST = WORLD.request()
APPROVAL = WORLD.approval(REQUEST, "alice", policy=POLICY)
KEYS = {"request": public_text(WORLD.release_credential), "approval": ssh_line(WORLD.people["alice"])}
SIGNED = [("request", REQUEST), ("approval", APPROVAL)]
NAMESPACE = "signwright.approval.v1"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"a":1,"a":2}', "duplicate-member"),
        (b'{"a":{"b":1,"b":1}}', "duplicate-member"),
        (b'{"a":1.0}', "float"),
        (b'{"a":1e3}', "float"),
        (b'{"a":NaN}', "float"),
        (b'{"a":-Infinity}', "float"),
        (b'{"a":9223372036854775808}', "bad-integer"),
        (b'{"a":%s}' % (b"1" * 5000), "bad-integer"),
        (b"\xef\xbb\xbf{}", "bad-json"),
        (b'{"a":"\xff"}', "bad-json"),
        (b"{}x", "bad-json"),
        (b"", "bad-json"),
        (b"[" * 60_000, "bad-json"),
        (b'{"a":"\\ud800"}', "bad-text"),
        (b'{"a":"\\u001b[31m"}', "bad-text"),
        (b'{"a":"\\u202e"}', "bad-text"),
        (b'{"a":"\\u200b"}', "bad-text"),
        (b'{"a":"\\n"}', "bad-text"),
        (b'{"\\u0007":1}', "bad-text"),
        (b'{"a":' * 9 + b"1" + b"}" * 9, "too-deep"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_json_that_two_readers_could_see_differently_is_refused(text, code):
    with pytest.raises(MalformedError) as caught:
        strict_json(text)
    assert caught.value.code == code


def test_a_statement_of_65_kib_is_too_large():
    with pytest.raises(LimitError):
        strict_json(b'"%s"' % (b"x" * MAX_STATEMENT))
    assert strict_json(b'"%s"' % (b"x" * (MAX_STATEMENT - 2))) == "x" * (MAX_STATEMENT - 2)
    payload = base64.b64encode(b"x" * (MAX_STATEMENT + 1)).decode()
    row = {"keyid": "", "scheme": "ed25519", "sig": ""}
    text = json.dumps({"payload": payload, "payloadType": PAYLOAD_TYPE, "signatures": [row]}).encode()
    with pytest.raises(LimitError):
        parse_envelope(text)


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text("abc äß", max_size=5), st.lists))
def test_plain_json_is_read_as_the_standard_library_reads_it(value):
    text = json.dumps(value).encode()
    if nesting(value) <= MAX_DEPTH:
        assert strict_json(text) == json.loads(text)
    else:
        with pytest.raises(MalformedError, match="nested too deeply"):
            strict_json(text)


def nesting(value: object) -> int:
    return 1 + max(map(nesting, value), default=0) if isinstance(value, list) else 0


@given(st.binary(max_size=200))
def test_random_bytes_are_a_clean_error_or_nothing(content):
    for parse in (strict_json, parse_envelope, ReceiptBundle.decode):
        try:
            parse(content)
        except (MalformedError, LimitError):
            continue


@pytest.mark.parametrize(("name", "envelope"), SIGNED)
def test_a_statement_survives_its_written_form(name, envelope):
    again = parse_envelope(envelope.encode())
    assert again == envelope
    assert len(verify_envelope(again, name, [KEYS[name]])) == 1


@pytest.mark.parametrize(("name", "envelope"), SIGNED)
def test_every_flipped_byte_fails(name, envelope):
    text = envelope.encode()
    for at in range(len(text)):
        flipped = bytearray(text)
        flipped[at] ^= 1
        try:
            found = verify_envelope(parse_envelope(bytes(flipped)), name, [KEYS[name]])
        except SignwrightError:
            continue
        assert found == [], f"byte {at}"


@pytest.mark.parametrize(("name", "envelope"), SIGNED)
def test_every_truncation_is_a_clean_error(name, envelope):
    text = envelope.encode()
    for end in range(len(text)):
        with pytest.raises(MalformedError):
            parse_envelope(text[:end])
    for end in range(len(envelope.payload)):
        with pytest.raises(MalformedError):
            parse_statement(
                replace(envelope, payload=envelope.payload[:end]), Request if name == "request" else Approval
            )


def test_a_statement_of_another_type_is_refused():
    with pytest.raises(MalformedError) as caught:
        parse_statement(REQUEST, Approval)
    assert caught.value.code == "wrong-statement-type"


def test_a_signature_for_one_type_of_statement_is_none_for_another():
    word = sign_ssh(APPROVAL.payload, WORLD.people["alice"], "session")
    with pytest.raises(VerificationError) as caught:
        verify_envelope(word, "approval", [KEYS["approval"]])
    assert caught.value.code == "wrong-namespace"


@pytest.mark.parametrize(
    "change", [{"extra": 1}, {"nonce": "x"}, {"created": "2026-11-21T12:00:00+01:00"}, {"mode": 1}]
)
def test_a_statement_with_a_wrong_or_unknown_field_is_refused(change):
    body = json.loads(REQUEST.payload)
    body["predicate"] |= change
    with pytest.raises(MalformedError) as caught:
        parse_statement(Envelope(json.dumps(body).encode(), ()), Request)
    assert caught.value.code in ("bad-field", "bad-time")


def test_a_request_with_more_subjects_than_artifacts_is_refused():
    body = json.loads(REQUEST.payload)
    body["subject"].append(body["subject"][0])
    with pytest.raises(MalformedError):
        parse_statement(Envelope(json.dumps(body).encode(), ()), Request)


@pytest.mark.parametrize("text", ["YQ", "YR==", "YQ==\n", "Y Q=", "YQ=", "-_-_"])
def test_base64_has_one_written_form(text):
    with pytest.raises(MalformedError):
        strict_base64(text)


def test_a_signature_of_a_known_key_under_another_scheme_is_refused():
    (signature,) = REQUEST.signatures
    wrong = replace(REQUEST, signatures=(replace(signature, scheme="sshsig"),))
    with pytest.raises(VerificationError):
        verify_envelope(wrong, "request", [KEYS["request"]])


def test_signatures_of_unknown_keys_are_ignored_and_one_key_counts_once():
    stranger = EnvelopeSignature("swk_" + "a" * 20, "ed25519", b"x" * 64)
    several = replace(REQUEST, signatures=(stranger, *REQUEST.signatures, *REQUEST.signatures))
    assert len(verify_envelope(several, "request", [KEYS["request"]])) == 1
    assert verify_envelope(REQUEST, "request", []) == []


def test_digests_of_statements_are_bound_to_their_type():
    assert statement_digest("request", REQUEST) != statement_digest("approval", REQUEST)
    expected = hashlib.sha256(b"signwright/request/v1\0" + pae(PAYLOAD_TYPE, REQUEST.payload)).hexdigest()
    assert statement_digest("request", REQUEST) == expected


def test_securesystemslib_reads_our_envelopes_and_pae():
    from securesystemslib.dsse import Envelope as Oracle
    from securesystemslib.signer import SSlibKey

    oracle = Oracle.from_dict(json.loads(REQUEST.encode()))
    assert oracle.pae() == REQUEST.pae
    raw = WORLD.release_credential.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    key = SSlibKey(key_id(WORLD.release_credential), "ed25519", "ed25519", {"public": raw.hex()})
    assert oracle.verify([key], 1)


def test_we_read_what_securesystemslib_signs():
    from securesystemslib.dsse import Envelope as Oracle
    from securesystemslib.signer import CryptoSigner

    private = Ed25519PrivateKey.generate()
    oracle = Oracle(REQUEST.payload, PAYLOAD_TYPE, {})
    value = bytes.fromhex(oracle.sign(CryptoSigner(private)).signature)
    raw = private.public_key().public_bytes_raw()
    ours = Envelope(REQUEST.payload, (EnvelopeSignature(key_id_of(raw), "ed25519", value),))
    assert len(verify_envelope(ours, "request", [public_text(private)])) == 1


def armoured(blob: bytes) -> str:
    text = base64.b64encode(blob).decode()
    lines = "\n".join(text[at : at + 70] for at in range(0, len(text), 70))
    return f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n"


def private_keys():
    return {"ed25519": Ed25519PrivateKey.generate(), "ecdsa": ec.generate_private_key(ec.SECP256R1())}


def line_of(private) -> str:
    return private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_ssh_keygen_accepts_our_signatures(tmp_path, kind):
    keygen, private = require_tool("ssh-keygen", "openssh-client"), private_keys()[kind]
    (tmp_path / "allowed").write_text(f"alice {line_of(private)}\n")
    (tmp_path / "sig").write_text(armoured(sign_sshsig(private, namespace=NAMESPACE, message=b"message")))
    command = [keygen, "-Y", "verify", "-f", "allowed", "-I", "alice", "-n", NAMESPACE, "-s", "sig"]
    assert subprocess.run(command, input=b"message", cwd=tmp_path, capture_output=True, check=False).returncode == 0
    assert subprocess.run(command, input=b"massage", cwd=tmp_path, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_we_accept_signatures_of_ssh_keygen(tmp_path, kind):
    keygen, private = require_tool("ssh-keygen", "openssh-client"), private_keys()[kind]
    (tmp_path / "key").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "file").write_bytes(b"message")
    command = [keygen, "-Y", "sign", "-f", "key", "-n", NAMESPACE, "file"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    blob = base64.b64decode("".join((tmp_path / "file.sig").read_text().splitlines()[1:-1]))
    public = SshPublicKey.parse(line_of(private))
    verify_sshsig(blob, public_key=public, namespace=NAMESPACE, message=b"message")
    for wrong in ({"namespace": "file"}, {"message": b"massage"}, {"public_key": SshPublicKey.parse(KEYS["approval"])}):
        good = {"public_key": public, "namespace": NAMESPACE, "message": b"message"}
        with pytest.raises(VerificationError):
            verify_sshsig(blob, **(good | wrong))


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_every_flipped_or_missing_byte_of_an_sshsig_fails(kind):
    private = private_keys()[kind]
    public = SshPublicKey.parse(line_of(private))
    blob = sign_sshsig(private, namespace=NAMESPACE, message=b"message")
    broken = [blob[:end] for end in range(len(blob))] + [blob + b"\0"]
    broken += [blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :] for at in range(len(blob))]
    for content in broken:
        with pytest.raises(SignwrightError):
            verify_sshsig(content, public_key=public, namespace=NAMESPACE, message=b"message")


def string(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


class SecurityKey:
    """What a FIDO token does for ``ssh-keygen`` (OpenSSH PROTOCOL.u2f), with a key in memory."""

    def __init__(self, kind: str) -> None:
        self.kind, self.application = kind, b"ssh:"
        self.private = Ed25519PrivateKey.generate() if kind == SK_ED25519 else ec.generate_private_key(ec.SECP256R1())
        if isinstance(self.private, Ed25519PrivateKey):
            point = string(self.private.public_key().public_bytes_raw())
        else:
            raw = self.private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            point = string(b"nistp256") + string(raw)
        self.blob = string(kind.encode()) + point + string(self.application)

    @property
    def public(self) -> SshPublicKey:
        return SshPublicKey.parse(f"{self.kind} {base64.b64encode(self.blob).decode()} token")

    def sign(self, message: bytes, flags: int, application: bytes | None = None) -> bytes:
        tbs = hashlib.sha256(to_be_signed(NAMESPACE, message)).digest()
        where = hashlib.sha256(application or self.application).digest()
        content = where + bytes([flags]) + (7).to_bytes(4, "big") + tbs
        if isinstance(self.private, Ed25519PrivateKey):
            core = self.private.sign(content)
        else:
            from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

            r, s = decode_dss_signature(self.private.sign(content, ec.ECDSA(SHA256())))
            core = b"".join(string(n.to_bytes(n.bit_length() // 8 + 1, "big")) for n in (r, s))
        value = string(self.kind.encode()) + string(core) + bytes([flags]) + (7).to_bytes(4, "big")
        parts = (self.blob, NAMESPACE.encode(), b"", b"sha512", value)
        return b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(map(string, parts))


@pytest.mark.parametrize("kind", [SK_ED25519, SK_ECDSA])
def test_a_security_key_counts_only_when_it_was_touched(kind):
    token = SecurityKey(kind)
    how = {"public_key": token.public, "namespace": NAMESPACE, "message": b"message"}
    verify_sshsig(token.sign(b"message", 0x01), **how)
    verify_sshsig(token.sign(b"message", 0x05), **how)
    with pytest.raises(VerificationError) as caught:
        verify_sshsig(token.sign(b"message", 0x00), **how)
    assert caught.value.code == "no-user-presence"
    touched_later = token.sign(b"message", 0x00)[:-5] + b"\x01" + (7).to_bytes(4, "big")
    for blob in (touched_later, token.sign(b"message", 0x01, b"https://evil"), token.sign(b"massage", 0x01)):
        with pytest.raises(VerificationError):
            verify_sshsig(blob, **how)


def test_rsa_and_dsa_keys_are_refused():
    blob = base64.b64encode(string(b"ssh-rsa") + string(b"\x01\x00\x01") + string(b"\x00" + b"\xff" * 256)).decode()
    for line in (f"ssh-rsa {blob}", f"ssh-dss {blob}", f"ssh-ed25519 {blob}", "ssh-ed25519", "ssh-ed25519 !!!"):
        with pytest.raises(MalformedError):
            verifying_key(line)


@pytest.mark.parametrize("text", ["ed25519:", "ed25519:AAAA", "ed25519:!", "", "AAAA", "rsa:AAAA"])
def test_what_is_no_machine_key_is_refused(text):
    with pytest.raises(MalformedError):
        verifying_key(text)


def test_a_seed_file_gives_its_key_back_and_an_error_never_repeats_it():
    key = Ed25519PrivateKey.generate()
    assert load_seed(seed_text(key)).private_bytes_raw() == key.private_bytes_raw()
    secret = base64.b64encode(b"s" * 31).decode()
    for text in (f"ed25519-seed:{secret}\n", secret, "", f"ed25519-seed:{secret}{secret}"):
        with pytest.raises(ConfigurationError) as caught:
            load_seed(text)
        assert secret not in str(caught.value)


def test_a_machine_signature_is_deterministic_and_names_its_key():
    key = Ed25519PrivateKey.generate()
    first, second = sign_ed25519(b"{}", key), sign_ed25519(b"{}", key)
    assert first == second
    assert first.signatures[0].keyid == key_id_of(key.public_key().public_bytes_raw())


def test_a_statement_parsed_before_is_no_other_type_and_no_other_payload():
    envelope = parse_envelope(REQUEST.encode())
    assert parse_statement(envelope, Request) == parse_statement(REQUEST, Request)
    with pytest.raises(MalformedError) as refused:
        parse_statement(envelope, Approval)
    assert refused.value.code == "wrong-statement-type"
    other = replace(envelope, payload=WORLD.request(nonce="0" * 32).payload)
    assert parse_statement(other, Request).predicate.nonce == "0" * 32
    assert parse_statement(envelope, Request).predicate.nonce != "0" * 32


@given(
    st.recursive(
        st.one_of(st.text(max_size=4), st.integers(), st.booleans(), st.none()),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    )
)
def test_a_bundle_is_laid_out_as_the_standard_library_does(value):
    assert _indented(value, "\n") == json.dumps(value, indent=1, sort_keys=True)


def test_seed_without_its_prefix_is_refused():
    with pytest.raises(ConfigurationError):
        load_seed(base64.b64encode(b"s" * 32).decode())


def test_integers_end_at_63_bits_on_both_sides():
    assert strict_json(b"[-9223372036854775808,9223372036854775807]") == [-(2**63), 2**63 - 1]
    for number in (2**63, -(2**63) - 1):
        with pytest.raises(MalformedError) as caught:
            strict_json(b"[%d]" % number)
        assert caught.value.code == "bad-integer"


def test_what_is_no_object_is_no_statement():
    assert predicate_name(Envelope(b"[1]", ())) == ""
    with pytest.raises(MalformedError, match=r"\(top\)"):
        parse_statement(Envelope(b"[1]", ()), Request)


def test_statement_with_a_second_subject_is_refused():
    """Only requests and approvals speak of more than one thing."""
    body = json.loads(WORLD.scan(b"artifact").payload)
    body["subject"].append(body["subject"][0])
    with pytest.raises(MalformedError, match="exactly one subject"):
        parse_statement(Envelope(json.dumps(body).encode(), ()), ScanEvidence)
    assert len(parse_statement(APPROVAL, Approval).subjects) == 2
