# SPDX-License-Identifier: Apache-2.0
"""Windows catalogs (``.cat``): one signature for many files, of drivers, of PowerShell modules, for App Control.

A catalog is a PKCS #7 SignedData around a list of digests: without signers as MakeCat leaves it, with one when it is
signed. Signing writes certificates and the signer around the list, which keeps its bytes. Windows takes one signature
in a catalog, and wants it in DER (update KB4580358 of October 2020).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from pydantic import Field, field_validator

from signwright.envelopes import der
from signwright.envelopes.catalog import TRUST_LIST
from signwright.envelopes.cms import SIGNED_DATA
from signwright.errors import FormatError, MalformedError
from signwright.formats.authenticode import MAX_ENVELOPE, AuthenticodeOptions, Existing, authenticode_operation
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.catalog_list import CATALOG_LIST, CatalogList, read_list
from signwright.formats.state import bad_state, patch_of, read_state
from signwright.model.digest import Digest
from signwright.model.operation import Parameter, Sha256Text, Strict
from signwright.model.patch import Patch, Splice
from signwright.model.text import first_bad_character
from signwright.model.view import View

MAX_SIZE = 8 << 20
_HEAD = 256
_MAX_FACT = 1000


class CatalogOptions(AuthenticodeOptions):
    """Options of `CatalogFormat`; ``sha1``: sign also where files are known by SHA-1 digests alone."""

    sha1: bool = False

    @field_validator("existing")
    @classmethod
    def _one_signature(cls, existing: Existing) -> Existing:
        if existing is Existing.APPEND:
            raise ValueError("existing: a catalog has one signature; refuse or replace")
        return existing


class CatalogState(Strict):
    """What `CatalogFormat.embed` needs: where the list stands in the source, and its SHA-256."""

    start: int = Field(ge=0, le=MAX_SIZE)
    end: int = Field(ge=0, le=MAX_SIZE)
    list_sha256: Sha256Text


@dataclass(frozen=True, slots=True)
class _Outside:
    """The list within a ContentInfo: its complete encoding, from ``start`` to ``end``."""

    encoding: bytes
    start: int
    is_signed: bool

    @property
    def end(self) -> int:
        return self.start + len(self.encoding)


class CatalogFormat:
    """Implements `signwright.formats.base.Format`."""

    name = "catalog"
    title = "Windows catalog (CAT)"
    purpose = "authenticode"
    options: type[FormatOptions] = CatalogOptions
    digest_mode = False
    file_names = ("*",)
    detached_suffix = ""
    verifiers: tuple[str, ...] = ("osslsigncode", "signify", "relic")

    def recognizes(self, view: View) -> bool:
        """SignedData, a trust list, for use as a catalog: three object identifiers in the head, in this order."""
        head = view.read(0, min(view.size, _HEAD))
        places = [head.find(der.oid(name)) for name in (SIGNED_DATA, TRUST_LIST, CATALOG_LIST)]
        return head[:1] == b"\x30" and 0 < places[0] < 8 and places[0] < places[1] < places[2]

    def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:  # noqa: ARG002 - a catalog does not care who signs it
        """One operation, whose content is the list. Catalogs have at most 8 MiB and are held in memory."""
        if not isinstance(options, CatalogOptions):
            raise FormatError(f"options of {type(options).__name__}, wanted CatalogOptions", code="bad-options")
        content = _read(view)
        outside = _find_list(content)
        if outside.is_signed and options.existing is Existing.REFUSE:
            raise FormatError("the catalog is signed already", code="already-signed", hint="option existing: replace")
        found = read_list(outside.encoding, outside.start)
        if not options.sha1 and all(member.algorithm == "sha1" for member in found.members):
            raise FormatError(
                "every file in the catalog is known by a SHA-1 digest alone, which others can be given",
                code="weak-digest",
                hint="make the catalog with SHA-256 (CatalogVersion=2), or option sha1: yes",
            )
        octets = der.read_one(outside.encoding, der.SEQUENCE).content
        digest = Digest.of(octets, options.digest.value)
        state = CatalogState(
            start=outside.start, end=outside.end, list_sha256=hashlib.sha256(outside.encoding).hexdigest()
        )
        return Prepared(
            format=self.name,
            source_sha256=hashlib.sha256(content).hexdigest(),
            source_size=len(content),
            operations=(authenticode_operation(self.name, digest, options),),
            facts=_facts(found, is_signed=outside.is_signed),
            state=state.model_dump(mode="json"),
        ).beside(contents=(octets,))

    def embed(self, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
        """Two replacements: what stands before the list, and what stands behind it."""
        state = _state(prepared)
        if len(envelopes) != 1:
            raise FormatError(f"{len(envelopes)} envelopes for one operation", code="bad-envelope")
        try:
            added = _find_list(envelopes[0])
        except FormatError as problem:
            raise FormatError(f"the envelope is no signed catalog: {problem.message}", code="bad-envelope") from problem
        if hashlib.sha256(added.encoding).hexdigest() != state.list_sha256:
            raise FormatError("the envelope is around another list", code="bad-envelope")
        head, tail = envelopes[0][: added.start], envelopes[0][added.end :]
        if len(head) + len(tail) > MAX_ENVELOPE:
            raise FormatError(f"a signature of more than {MAX_ENVELOPE} bytes", code="too-large")
        return _patch(prepared.source_sha256, prepared.source_size, state, head, tail)

    def remove(self, view: View) -> Patch:
        """The catalog as MakeCat leaves it: without digest algorithms, certificates and signers."""
        content = _read(view)
        outside = _find_list(content)
        if not outside.is_signed:
            raise FormatError("the catalog has no signature", code="not-signed")
        plain = unsigned(outside.encoding)
        at = _find_list(plain)
        state = CatalogState(start=outside.start, end=outside.end, list_sha256="0" * 64)
        source = hashlib.sha256(content).hexdigest()
        return _patch(source, len(content), state, plain[: at.start], plain[at.end :])


def unsigned(encoding: bytes) -> bytes:
    """A catalog without signers around a list (complete encoding)."""
    listed = der.sequence(der.oid(TRUST_LIST), der.explicit(0, encoding))
    body = der.sequence(der.integer(1), der.set_of([]), listed, der.set_of([]))
    return der.sequence(der.oid(SIGNED_DATA), der.explicit(0, body))


def _read(view: View) -> bytes:
    if view.size > MAX_SIZE:
        raise FormatError(f"a catalog of {view.size} bytes, at most {MAX_SIZE} are signed", code="too-large")
    return view.read(0, view.size)


def _find_list(content: bytes) -> _Outside:
    """Through ContentInfo and SignedData to the list; raises `FormatError`."""
    try:
        info = list(islice(der.each(der.read_one(content, der.SEQUENCE).content), 3))
        if len(info) != 2 or info[0].encoded != der.oid(SIGNED_DATA):
            raise MalformedError("no SignedData")
        body = list(islice(der.each(_only(info[1]).content), 7))
        tags = [field.tag for field in body]
        is_known = tags[:3] == [der.INTEGER, der.SET, der.SEQUENCE] and body[0].content == b"\1"
        if not is_known or tags[3:] not in ([der.SET], [0xA0, der.SET], [0xA0, 0xA1, der.SET]):
            raise MalformedError("SignedData has other fields, or another version")
        listed = list(islice(der.each(body[2].content), 3))
        if len(listed) != 2 or listed[0].encoded != der.oid(TRUST_LIST):
            raise MalformedError("the content is no trust list")
        encoding = _only(listed[1], tag=0xA0).encoded
    except MalformedError as problem:
        raise FormatError(f"not a catalog: {problem.message}", code="not-a-catalog") from problem
    # What follows the list is known to the byte, and so is where it begins.
    behind = sum(len(field.encoded) for field in body[3:])
    return _Outside(encoding, len(content) - behind - len(encoding), is_signed=bool(body[-1].content))


def _only(wrapped: der.Element, tag: int = 0xA0) -> der.Element:
    if wrapped.tag != tag:
        raise MalformedError("content without its tag")
    return der.read_one(wrapped.content, der.SEQUENCE)


def _state(prepared: Prepared) -> CatalogState:
    """The state as it came back from another process."""
    state = read_state(prepared, CatalogState, CatalogFormat.name)
    if not state.start < state.end <= prepared.source_size:
        raise bad_state("out of order")
    return state


def _patch(source_sha256: str, source_size: int, state: CatalogState, head: bytes, tail: bytes) -> Patch:
    splices = (Splice(0, state.start, head), Splice(state.end, source_size - state.end, tail))
    return patch_of(source_sha256, source_size, splices)


def _facts(found: CatalogList, *, is_signed: bool) -> dict[str, Parameter]:
    """``members`` counts digests: a file that is known by two has two members."""
    values = [found.values, *(member.values for member in found.members)]
    return {
        "catalog_version": found.version,
        "members": len(found.members),
        "sha1_members": sum(member.algorithm == "sha1" for member in found.members),
        "files": _joined(member.values.get("File", "") for member in found.members),
        "os": _joined(found.values.get("OS", "").split(",")),
        "os_attributes": _joined(text for each in values for text in each.get("OSAttr", "").split(",")),
        "hardware_ids": _joined(text for name, text in found.values.items() if name.upper().startswith("HWID")),
        "signed_before": is_signed,
    }


def _joined(texts: Iterable[str]) -> str:
    """Each text once, in order, with what could steer a terminal escaped; cut where a fact would become too long."""
    shown: list[str] = []
    size = 0
    rows = sorted({text.strip() for text in texts} - {""})
    for text in rows:
        clean = text if first_bad_character(text) is None else ascii(text)
        size += len(clean) + 2
        if size > _MAX_FACT:
            return ", ".join([*shown, f"and {len(rows) - len(shown)} more"])
        shown.append(clean)
    return ", ".join(shown)
