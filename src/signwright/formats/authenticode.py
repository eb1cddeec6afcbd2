# SPDX-License-Identifier: Apache-2.0
"""What Authenticode formats share: their options, their operation, WIN_CERTIFICATE entries and nested signatures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum

from pydantic import Field, field_validator

from signwright.envelopes import der
from signwright.envelopes.authenticode import NESTED_SIGNATURE, AuthenticodePages, octets
from signwright.envelopes.cms import SIGNED_DATA
from signwright.envelopes.indirect_data import indirect_data_with_pages
from signwright.errors import FormatError, MalformedError
from signwright.formats.base import FormatOptions
from signwright.model.digest import Digest
from signwright.model.operation import Operation, Parameter
from signwright.model.text import check_text
from signwright.model.view import View

MAX_ENVELOPE = 1 << 20
MAX_ENTRIES = 64
_URL = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")

_ENTRY_HEADER = 8
_REVISION_2 = 0x0200
_PKCS_SIGNED_DATA = 0x0002
#: Revision and type, then a SEQUENCE of any length that begins with the OID of SignedData.
_SIGNATURE = re.compile(
    rb"\x00\x02\x02\x00\x30(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)" + re.escape(der.oid(SIGNED_DATA)), re.DOTALL
)


class DigestName(StrEnum):
    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"


class Existing(StrEnum):
    """What happens to a file that is signed already."""

    REFUSE = "refuse"
    REPLACE = "replace"
    APPEND = "append"


class DescribedOptions(FormatOptions):
    """``description`` and ``url`` (http or https) are shown by Windows; both become part of what is signed."""

    description: str | None = Field(default=None, min_length=1, max_length=256)
    url: str | None = Field(default=None, max_length=2048)

    @field_validator("description")
    @classmethod
    def _readable(cls, text: str | None) -> str | None:
        if text is not None:
            _as_value_error(text)
            if any(ord(character) > 0xFFFF for character in text):
                raise ValueError("description: a character above U+FFFF cannot stand in the signature")
        return text

    @field_validator("url")
    @classmethod
    def _web_address(cls, url: str | None) -> str | None:
        if url is not None and not _URL.fullmatch(url):
            raise ValueError("url: wanted an http or https address in ASCII")
        return url


class AuthenticodeOptions(DescribedOptions):
    """What every kind of file has whose digest may be chosen."""

    # Enumerations arrive as plain text from the command line, the API and policies.
    digest: DigestName = Field(default=DigestName.SHA256, strict=False)
    existing: Existing = Field(default=Existing.REFUSE, strict=False)


def _as_value_error(text: str) -> None:
    try:
        check_text(text, "description")
    except MalformedError as problem:
        raise ValueError(problem.message) from problem


def authenticode_operation(kind: str, digest: Digest, options: DescribedOptions) -> Operation:
    """The operation over the digest of a file of this kind, one of `signwright.envelopes.indirect_data.KINDS`; for a
    kind of `PACKAGE_KINDS` the digest is of the content that must be seen.
    """
    parameters: dict[str, Parameter] = {}
    if options.description is not None:
        parameters["description"] = options.description
    if options.url is not None:
        parameters["url"] = options.url
    return Operation(template=f"authenticode-{kind}", parameters=parameters, digest=str(digest))


def with_page_hashes(operation: Operation, table: bytes) -> tuple[Operation, bytes]:
    """``operation`` on a PE with a table of page hashes in what is signed, and that content, which must be seen."""
    content = octets(indirect_data_with_pages(operation.content_digest, table))
    digest = Digest.of(content, operation.content_digest.algorithm)
    return operation.model_copy(update={"template": AuthenticodePages.name, "digest": str(digest)}), content


def check_envelope(envelope: bytes) -> bytes:
    """Return ``envelope`` if it is one DER ContentInfo with SignedData of at most 1 MiB; raises `FormatError`."""
    if len(envelope) > MAX_ENVELOPE:
        raise FormatError(f"signature of {len(envelope)} bytes, at most {MAX_ENVELOPE} fit", code="too-large")
    try:
        _content_info(envelope)
    except MalformedError as problem:
        raise FormatError(f"the envelope is no CMS SignedData: {problem.message}", code="bad-envelope") from problem
    return envelope


def write_certificates(envelopes: Sequence[bytes]) -> bytes:
    """WIN_CERTIFICATE entries (revision 2.0, PKCS signed data), each padded with zeros to 8 bytes; the length in the
    header includes the padding, as signtool writes it.
    """
    entries = []
    for envelope in envelopes:
        padded = envelope + bytes(-len(envelope) % 8)
        header = (_ENTRY_HEADER + len(padded)).to_bytes(4, "little")
        header += _REVISION_2.to_bytes(2, "little") + _PKCS_SIGNED_DATA.to_bytes(2, "little")
        entries.append(header + padded)
    return b"".join(entries)


def read_certificates(table: bytes, offset: int) -> list[bytes]:
    """The CMS structures of a certificate table without their padding; ``offset`` of the table is for messages.

    Raises `FormatError` for an entry that is not CMS: nothing can be nested into it, or kept beside it, safely.
    """
    envelopes: list[bytes] = []
    at = 0
    while at < len(table):
        length = int.from_bytes(table[at : at + 4], "little")
        revision, kind = table[at + 4 : at + 6], table[at + 6 : at + 8]
        if length <= _ENTRY_HEADER or at + length > len(table):
            raise _bad_table(f"an entry of {length} bytes with {len(table) - at} left", offset + at)
        if int.from_bytes(revision, "little") != _REVISION_2 or int.from_bytes(kind, "little") != _PKCS_SIGNED_DATA:
            raise _bad_table(f"an entry of revision 0x{revision[::-1].hex()}, type 0x{kind[::-1].hex()}", offset + at)
        content = table[at + _ENTRY_HEADER : at + length]
        try:
            envelope = der.read_element(content).encoded
            _content_info(envelope)
        except MalformedError as problem:
            raise _bad_table(f"an entry that is not CMS in DER ({problem.message})", offset + at) from problem
        if any(content[len(envelope) :]):
            raise _bad_table("bytes behind the signature", offset + at)
        envelopes.append(envelope)
        if len(envelopes) > MAX_ENTRIES:
            raise _bad_table(f"more than {MAX_ENTRIES} entries", offset + at)
        at += -(-length // 8) * 8
    return envelopes


def certificate_heads(view: View, offset: int, size: int) -> Iterator[bytes]:
    """The first bytes of each WIN_CERTIFICATE entry behind its length: revision, type, and how its content begins.

    Ends at an entry that cannot be, and after `MAX_ENTRIES`.
    """
    end = offset + size
    for _ in range(MAX_ENTRIES):
        if offset + _ENTRY_HEADER > end:
            return
        length = int.from_bytes(view.read(offset, 4), "little")
        if length <= _ENTRY_HEADER or offset + length > end:
            return
        yield view.read(offset + 4, min(length - 4, 24))
        offset += -(-length // 8) * 8


def is_signature(head: bytes) -> bool:
    """Whether an entry that begins so is CMS SignedData, damaged or not."""
    return _SIGNATURE.match(head) is not None


def _bad_table(found: str, offset: int) -> FormatError:
    return FormatError(f"certificate table: {found}", offset=offset, code="bad-certificate-table")


def _content_info(envelope: bytes) -> list[der.Element]:
    """Parts of the ContentInfo: content type and [0] content; raises `MalformedError` unless it is SignedData."""
    parts = der.read_all(der.read_one(envelope, der.SEQUENCE).content)
    if len(parts) != 2 or parts[0].encoded != der.oid(SIGNED_DATA) or parts[1].tag != 0xA0:
        raise MalformedError("not CMS SignedData")
    return parts


def nest(existing: bytes, added: bytes) -> bytes:
    """``existing`` with ``added`` as nested signature: a value of the unsigned attribute 1.3.6.1.4.1.311.2.4.1.

    Everything that ``existing`` signs, and its other unsigned attributes, keep their bytes.

    Raises `FormatError` when ``existing`` is not CMS in DER with one signer.
    """
    try:
        content_type, content = _content_info(existing)
        fields = der.read_all(der.read_one(der.read_one(content.encoded, 0xA0).content, der.SEQUENCE).content)
        signers = der.read_all(der.read_one(fields[-1].encoded, der.SET).content)
        if len(signers) != 1:
            raise MalformedError(f"{len(signers)} signers, wanted 1")
        signer = der.read_all(der.read_one(signers[0].encoded, der.SEQUENCE).content)
    except (MalformedError, IndexError) as problem:
        raise FormatError(f"the existing signature cannot take another: {problem}", code="bad-envelope") from problem
    old = signer.pop().content if signer and signer[-1].tag == 0xA1 else b""
    unsigned = der.set_of(_with_nested(old, added), tag=0xA1)
    new_signer = der.sequence(*(part.encoded for part in signer), unsigned)
    body = der.sequence(*(field.encoded for field in fields[:-1]), der.set_of([new_signer]))
    return der.sequence(content_type.encoded, der.explicit(0, body))


def _with_nested(attributes: bytes, added: bytes) -> list[bytes]:
    """The unsigned attributes with ``added`` among the values of the nested signature attribute."""
    kind = der.oid(NESTED_SIGNATURE)
    kept: list[bytes] = []
    values = [added]
    try:
        for attribute in der.read_all(attributes):
            parts = der.read_all(der.read_one(attribute.encoded, der.SEQUENCE).content)
            if parts and parts[0].encoded == kind:
                values += [value.encoded for part in parts[1:] for value in der.read_all(part.content)]
            else:
                kept.append(attribute.encoded)
    except MalformedError as problem:
        raise FormatError(f"the existing signature cannot take another: {problem}", code="bad-envelope") from problem
    return [*kept, der.sequence(kind, der.set_of(values))]
