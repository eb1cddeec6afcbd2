# SPDX-License-Identifier: Apache-2.0
"""Which keys signed a file: every signature in it, whether the file still holds or not.

`signwright.readers` judge files: one signature that does not hold makes them refuse all. Here the question is another
one. A signature value over its own signed attributes proves that the key was used, whatever became of the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from asn1crypto import cms as asn1_cms
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signwright.client.orphans.anywhere import structures_in
from signwright.client.orphans.found import Found, Proof, Stamp
from signwright.client.trust import TrustFile
from signwright.errors import FormatError, SignwrightError, VerificationError
from signwright.model.digest import ALGORITHMS, Digest, sha256_hex
from signwright.model.view import View
from signwright.readers import cms, msi, pe
from signwright.readers.base import Reader
from signwright.readers.registry import recognize
from signwright.readers.values import check_digest_value, check_value, load_key
from signwright.timestamps.structure import parse_token, parse_tst_info
from signwright.timestamps.token import imprint_of_token, verify_token

MAX_STRUCTURES = 256
MAX_RAW = 2048
#: id-signedData, as it stands behind the first lengths of a ContentInfo.
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
#: What stands before the structure in AppxSignature.p7x, the member of a package that is its signature.
_P7X = b"PKCX"
#: What asn1crypto raises for nonsense, sooner or later: it parses when it is asked.
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)

#: (signature value, timestamp token) to what the token proves about the value.
StampOf = Callable[[bytes, bytes | None], Stamp | None]


def stamps_for(trust: TrustFile) -> StampOf:
    """Times as the authorities of the trust file vouch for them. An unknown authority's time is told as nobody's."""

    def stamp_of(value: bytes, token: bytes | None) -> Stamp | None:
        if token is None:
            return None
        for authority in trust.timestamp_authorities:
            try:
                imprint = Digest.of(value, imprint_of_token(token).algorithm)
                anchors = authority.anchor_certificates
                info = verify_token(
                    token, imprint=imprint, nonce=None, anchors=anchors, not_before=None, not_after=None
                )
            except SignwrightError:
                continue
            return Stamp(info.gen_time, authority.name)
        try:
            return Stamp(parse_tst_info(parse_token(token).content).gen_time, None)
        except SignwrightError:
            return None

    return stamp_of


@dataclass(frozen=True, slots=True)
class Look:
    """``keys``: hex SHA-256 of the keys of interest, None for all; others' signatures come out unchecked."""

    stamp_of: StampOf
    keys: frozenset[str] | None = None

    def concerns(self, key: str) -> bool:
        return self.keys is None or key in self.keys

    def key_of(self, public_key: bytes) -> str:
        """Hex SHA-256 of the SubjectPublicKeyInfo in the form in which keys of interest are named.

        One key can be written in several ways (a point of a curve in three): another spelling in a certificate makes
        no other key.
        """
        written = sha256_hex(public_key)
        if self.keys is not None and written in self.keys:
            return written
        try:
            plain = load_key(public_key).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except SignwrightError:
            return written
        return sha256_hex(plain)


def signatures_in(path: str, view: View, look: Look) -> Iterator[Found]:
    """Every signature in ``view``, by whatever key. Raises `FormatError`, `LimitError` and `VerificationError` for a
    file that may hold more than could be read.
    """
    reader = recognize(view)
    if reader is not None and reader.name == "zip":
        reader = None  # each of its members is looked at by itself
    if reader is not None and reader.name == "pe":
        yield from _of_pe(path, view, look)
    elif _SIGNED_DATA in view.read(0, min(20, view.size)):
        if view.size > cms.MAX_ENVELOPE:
            raise FormatError(f"signature of {view.size} bytes, at most {cms.MAX_ENVELOPE} are read", code="too-large")
        encoding = view.read(0, view.size).removeprefix(_P7X)
        yield from _of_structure(path, encoding, look, content_of=_message_digest)
    elif reader is not None:
        yield from _of_reader(path, view, look, reader)
    else:
        yield from _of_anything(path, view, look)  # a format that no reader here knows: a package, an installer


def raw_signature(path: str, value: bytes, content: Iterator[bytes], keys: Sequence[bytes]) -> Found | None:
    """The signature when one of ``keys`` (DER SubjectPublicKeyInfo) made ``value`` over ``content``, else None."""
    running = {name: hashlib.new(name) for name in ALGORITHMS}
    for block in content:
        for digest in running.values():
            digest.update(block)
    for name, digest in running.items():
        for key in keys:
            try:
                check_digest_value(key, value, digest.digest(), digest=name)
            except SignwrightError:
                continue
            signed = f"{name}:{digest.hexdigest()}"
            twin = _twin(key, value)
            return Found(path, sha256_hex(value), sha256_hex(key), Proof.MADE, content=signed, twin_sha256=twin)
    return None


def _of_reader(path: str, view: View, look: Look, reader: Reader) -> Iterator[Found]:
    """What the reader finds. In a file that it refuses every structure counts; with none the refusal stands."""
    try:
        signatures = reader.read(view).signatures
    except (FormatError, VerificationError):
        found = list(_of_installer(path, view, look)) if reader.name == "msi" else []
        known = {one.value_sha256 for one in found}
        found += [one for one in _of_anything(path, view, look) if one.value_sha256 not in known]
        if not found:
            raise
        yield from found
        return
    for signature in signatures:
        value, token = signature.signature_value, signature.timestamp_token
        key = look.key_of(signature.public_key)
        yield Found(
            path,
            sha256_hex(value),
            key,
            Proof.MADE,
            certificate=sha256_hex(signature.signer_certificate) if signature.signer_certificate else None,
            content=str(signature.content_digest),
            stamp=look.stamp_of(value, token) if look.concerns(key) else None,
        )


def _of_anything(path: str, view: View, look: Look) -> Iterator[Found]:
    for encoding in structures_in(view):
        try:
            yield from _of_structure(path, encoding, look, content_of=_message_digest)
        except FormatError:
            continue  # nobody's verifier reads it either


def _of_installer(path: str, view: View, look: Look) -> Iterator[Found]:
    """The stream of the signature: its sectors may lie anywhere in the file."""
    try:
        structure = msi.signature_stream(view)
        if structure is not None:
            yield from _of_structure(path, structure, look, content_of=_message_digest)
    except FormatError:
        return  # whatever else there is in one piece is still looked for


def _of_pe(path: str, view: View, look: Look) -> Iterator[Found]:
    try:
        for entry in pe.certificate_table(view):
            yield from _of_structure(path, entry, look, content_of=_image_digest, padding=True)
    except FormatError as problem:
        if problem.code != "no-directory":  # an image without the place for a signature has none
            raise


def _of_structure(
    path: str,
    encoding: bytes,
    look: Look,
    *,
    content_of: Callable[[cms.SignedData, cms.Signer], str | None],
    padding: bool = False,
) -> Iterator[Found]:
    """The signers of a CMS structure and of those nested in it."""
    pending, seen = [(encoding, padding)], 0
    while pending:
        current, padded = pending.pop()
        seen += 1
        if seen > MAX_STRUCTURES:
            raise FormatError(f"more than {MAX_STRUCTURES} signatures in one file", code="too-large")
        try:
            signed = cms.parse(current, padding=padded)
        except FormatError as problem:
            yield from _loosely(path, current, problem, look=look)
            continue
        for signer in signed.signers:
            yield _of_signer(path, signed, signer, look=look, content_of=content_of)
            pending += [(inner, False) for inner in signer.nested]


def _of_signer(
    path: str,
    signed: cms.SignedData,
    signer: cms.Signer,
    *,
    look: Look,
    content_of: Callable[[cms.SignedData, cms.Signer], str | None],
) -> Found:
    value, key = sha256_hex(signer.signature_value), look.key_of(signer.public_key)
    if not look.concerns(key):
        return Found(path, value, key, Proof.UNCLEAR, why="another key, which nobody asked about")
    proof, why = Proof.MADE, ""
    try:
        check_value(
            signer.public_key,
            signer.signature_value,
            signer.signed_bytes,
            digest=signer.digest_algorithm,
            algorithm=signer.signature_algorithm,
        )
    except VerificationError as problem:
        proof = Proof.FORGED if problem.code == "bad-signature" else Proof.UNCLEAR
        why = problem.message
    except FormatError as problem:
        proof, why = Proof.UNCLEAR, problem.message
    try:
        token = signer.timestamp_token
    except FormatError:
        token = None
    return Found(
        path,
        value,
        key,
        proof,
        certificate=sha256_hex(signer.certificate),
        content=content_of(signed, signer),
        stamp=look.stamp_of(signer.signature_value, token),
        why=why,
        twin_sha256=_twin(signer.public_key, signer.signature_value) if proof is Proof.MADE else None,
    )


def _twin(public_key: bytes, value: bytes) -> str | None:
    """SHA-256 of (r, n - s): as good as (r, s), and made without the key (FIPS 186-5 section 6.4 accepts both)."""
    key = load_key(public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return None
    r, s = decode_dss_signature(value)
    return sha256_hex(encode_dss_signature(r, key.curve.group_order - s))


def _message_digest(signed: cms.SignedData, signer: cms.Signer) -> str | None:
    """What a detached signature speaks about; of an embedded one the content is something else."""
    if signed.encapsulated is not None:
        return None
    try:
        return str(Digest(signer.digest_algorithm, signer.message_digest))
    except SignwrightError:
        return None


def _image_digest(signed: cms.SignedData, signer: cms.Signer) -> str | None:
    del signer
    try:
        return str(pe.claimed_digest(signed))
    except SignwrightError:
        return None


def _loosely(path: str, encoding: bytes, problem: FormatError, *, look: Look) -> Iterator[Found]:
    """Whom a structure names that the strict reader refuses, such as one without signed attributes.

    Raises ``problem`` when not even that can be read.
    """
    try:
        signed = asn1_cms.ContentInfo.load(encoding)["content"]
        certificates = [choice.chosen for choice in signed["certificates"] if choice.name == "certificate"]
        rows = [_loose_row(info, certificates) for info in signed["signer_infos"]]
    except _UNREADABLE as unreadable:
        raise problem from unreadable
    if not rows:
        raise problem
    for value, public_key, certificate in rows:
        key, fingerprint = look.key_of(public_key), sha256_hex(certificate)
        yield Found(path, sha256_hex(value), key, Proof.UNCLEAR, certificate=fingerprint, why=problem.message)


def _loose_row(info: asn1_cms.SignerInfo, certificates: list[asn1_cms.Certificate]) -> tuple[bytes, bytes, bytes]:
    """(signature value, SubjectPublicKeyInfo, certificate); raises one of `_UNREADABLE`."""
    certificate = _named(info["sid"], certificates)
    if certificate is None:
        raise KeyError("no certificate of this signer")
    public_key: bytes = certificate["tbs_certificate"]["subject_public_key_info"].dump()
    return info["signature"].native, public_key, certificate.dump()


def _named(sid: asn1_cms.SignerIdentifier, certificates: list[asn1_cms.Certificate]) -> asn1_cms.Certificate | None:
    """The certificate that a signer identifier points at."""
    for certificate in certificates:
        if sid.name == "subject_key_identifier":
            if certificate.key_identifier == sid.native:
                return certificate
        elif (certificate.issuer.dump(), certificate.serial_number) == (
            sid.chosen["issuer"].dump(),
            sid.chosen["serial_number"].native,
        ):
            return certificate
    return None
