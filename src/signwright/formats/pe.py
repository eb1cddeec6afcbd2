# SPDX-License-Identifier: Apache-2.0
"""Portable Executables: programs, libraries and drivers of Windows, and EFI images.

The digest covers the file without CheckSum, the security directory entry and the certificate table, padded with zeros
to 8 bytes ("Windows Authenticode Portable Executable Signature Format", section "Calculating the PE Image Hash"; data
behind the sections and gaps between them are covered too). Signing sets CheckSum and the directory entry and writes the
certificate table at the end of the file; nothing else changes, except that bytes behind a table that is replaced come
to stand before the new one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from pydantic import Field

from signwright.errors import FormatError
from signwright.formats import pe_checksum
from signwright.formats.authenticode import (
    MAX_ENTRIES,
    MAX_ENVELOPE,
    AuthenticodeOptions,
    Existing,
    authenticode_operation,
    certificate_heads,
    check_envelope,
    is_signature,
    nest,
    read_certificates,
    with_page_hashes,
    write_certificates,
)
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.pe_clr import clr_facts
from signwright.formats.pe_layout import CHECKSUM_SIZE, ENTRY_SIZE, LIMIT, Layout, pe_offset, read_layout
from signwright.formats.pe_pages import PageHashes
from signwright.formats.pe_version import version_facts
from signwright.formats.state import bad_state, patch_of, read_state
from signwright.model.digest import Digest
from signwright.model.one_pass import one_pass
from signwright.model.operation import Parameter, Strict
from signwright.model.patch import Patch, Splice
from signwright.model.view import View

MAX_KEPT_TABLE = 512 << 10

_MACHINES = {0x014C: "x86", 0x8664: "x86-64", 0x01C4: "arm", 0xAA64: "arm64", 0x5032: "riscv32", 0x5064: "riscv64"}
_MACHINES |= {0x6264: "loongarch64", 0x0200: "ia64", 0x0EBC: "efi-bytecode"}
_SUBSYSTEMS = {1: "native", 2: "windows-gui", 3: "windows-console", 7: "posix-console", 9: "windows-ce"}
_SUBSYSTEMS |= {10: "efi-application", 11: "efi-boot-service-driver", 12: "efi-runtime-driver", 13: "efi-rom"}
_SUBSYSTEMS |= {14: "xbox", 16: "windows-boot-application"}
_DLL = 0x2000
_NATIVE = 1
_EFI = range(10, 14)


class PeOptions(AuthenticodeOptions):
    """Options of `PeFormat`. ``page_hashes``: a digest of each page as well, which Windows checks when
    it loads the page; some drivers must have them.
    """

    page_hashes: bool = False


class PeState(Strict):
    """What `PeFormat.embed` needs: offsets of the fields it sets, where an old table began or the file ended, and the
    sum of the content's words without those fields. ``moved``: how many bytes behind the old table come to stand before
    the new one, with ``replace`` only; ``kept``: base64 of the existing signatures that stay, with ``append`` only.
    """

    content_end: int = Field(ge=0, lt=LIMIT)
    moved: int = Field(default=0, ge=0, lt=LIMIT)
    checksum_offset: int = Field(ge=0, lt=LIMIT)
    security_offset: int = Field(ge=0, lt=LIMIT)
    word_sum: int = Field(ge=0, lt=pe_checksum.MODULUS)
    kept: list[str] = Field(default_factory=list, max_length=MAX_ENTRIES)
    is_efi: bool


class PeFormat:
    """Implements `signwright.formats.base.Format`."""

    name = "pe"
    title = "Windows or EFI program (PE)"
    purpose = "authenticode"
    options: type[FormatOptions] = PeOptions
    digest_mode = True
    file_names = ("*",)
    detached_suffix = ""
    verifiers: tuple[str, ...] = ("osslsigncode", "signify", "relic", "sbverify")

    def recognizes(self, view: View) -> bool:
        return pe_offset(view) is not None

    def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:  # noqa: ARG002 - a PE does not care who signs it
        """One direct operation. Memory stays at a few MiB whatever the size of ``view``, and a table of page hashes."""
        if not isinstance(options, PeOptions):
            raise FormatError(f"options of {type(options).__name__}, wanted PeOptions", code="bad-options")
        layout = read_layout(view)
        _check_room(layout)
        kept = _kept_signatures(view, layout, options.existing)
        reading = _Reading(layout, options.digest.value)
        pages = PageHashes(layout) if options.page_hashes else None
        more = (pages.take,) if pages else ()
        one_pass(view, (reading.take_source, reading.take_image, *more), reading.take_words)
        operation = authenticode_operation("pe", reading.image_digest(), options)
        contents: tuple[bytes, ...] = ()
        if pages:
            operation, content = with_page_hashes(operation, pages.table())
            contents = (content,)
        state = PeState(
            content_end=layout.content_end,
            moved=layout.behind_table,
            checksum_offset=layout.checksum_offset,
            security_offset=layout.security_offset,
            word_sum=reading.word_sum(view),
            kept=[base64.b64encode(envelope).decode() for envelope in kept],
            is_efi=layout.subsystem in _EFI,
        )
        return Prepared(
            format=self.name,
            source_sha256=reading.source.hexdigest(),
            source_size=view.size,
            operations=(operation,),
            facts={**_facts(layout), **clr_facts(view, layout), **version_facts(view, layout)},
            state=state.model_dump(mode="json"),
        ).beside(contents=contents)

    def embed(self, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
        """Small replacements: CheckSum, the security directory entry, and padding with the table at the end."""
        state = _state(prepared)
        if len(envelopes) != 1:
            raise FormatError(f"{len(envelopes)} envelopes for one operation", code="bad-envelope")
        added = check_envelope(envelopes[0])
        content_size = state.content_end + state.moved
        padding = bytes(-content_size % ENTRY_SIZE)
        table = write_certificates(_all_signatures(state, added))
        table_offset = content_size + len(padding)
        size = table_offset + len(table)
        if size >= LIMIT:
            raise FormatError(f"the signed file would have {size} bytes, a PE is smaller than 4 GiB", code="too-large")
        entry = table_offset.to_bytes(4, "little") + len(table).to_bytes(4, "little")
        words = state.word_sum + pe_checksum.field_sum(entry, state.security_offset)
        words += pe_checksum.field_sum(padding + table, content_size)
        checksum = pe_checksum.checksum(words, size).to_bytes(CHECKSUM_SIZE, "little")
        splices = (
            Splice(state.checksum_offset, CHECKSUM_SIZE, checksum),
            Splice(state.security_offset, ENTRY_SIZE, entry),
            *_tail(state, prepared.source_size, padding + table),
        )
        return patch_of(prepared.source_sha256, prepared.source_size, splices)

    def remove(self, view: View) -> Patch:
        """Without the certificate table and with a new CheckSum; padding that stood before the table stays, and is
        none of the digest's business. `FormatError` (``not-signed``) for a table that is something else than a
        signature, damaged or not.
        """
        layout = read_layout(view)
        if not layout.table_offset:
            raise FormatError("the file has no certificate table", offset=layout.security_offset, code="not-signed")
        _refuse_other_table(view, layout)
        _refuse_data_behind(layout)
        reading = _Reading(layout, "sha256")
        one_pass(view, (reading.take_source,), reading.take_words)
        checksum = pe_checksum.checksum(reading.word_sum(view), layout.content_end).to_bytes(CHECKSUM_SIZE, "little")
        splices = (
            Splice(layout.checksum_offset, CHECKSUM_SIZE, checksum),
            Splice(layout.security_offset, ENTRY_SIZE, bytes(ENTRY_SIZE)),
            Splice(layout.content_end, view.size - layout.content_end, b""),
        )
        return patch_of(reading.source.hexdigest(), view.size, splices)


class _Reading:
    """The consumers of the one pass: SHA-256 of the source, the image digest, the sum of the words."""

    def __init__(self, layout: Layout, algorithm: str) -> None:
        self._layout = layout
        self._algorithm = algorithm
        self.source = hashlib.sha256()
        self._image = hashlib.new(algorithm)
        self._words = pe_checksum.WordSum()
        self._moved_words = 0

    def take_source(self, block: memoryview, offset: int) -> None:  # noqa: ARG002 - the shape of a consumer
        self.source.update(block)

    def take_image(self, block: memoryview, offset: int) -> None:
        for start, end in self._layout.signed_ranges:
            first, last = max(start, offset), min(end, offset + len(block))
            if first < last:
                self._image.update(block[first - offset : last - offset])

    def take_words(self, block: memoryview, offset: int) -> None:
        content = block[: max(self._layout.content_end - offset, 0)]
        if content:
            self._words.update(content)
        moved_from = self._layout.size - self._layout.behind_table
        first = max(moved_from, offset)
        if first < offset + len(block):
            position = self._layout.content_end + first - moved_from
            self._moved_words += pe_checksum.field_sum(bytes(block[first - offset :]), position)

    def image_digest(self) -> Digest:
        """To be called once, when every block was taken."""
        self._image.update(bytes(-self._layout.content_size % ENTRY_SIZE))
        return Digest(self._algorithm, self._image.digest())

    def word_sum(self, view: View) -> int:
        """Sum of the content's words as if CheckSum and the security directory entry were zero, and there no table."""
        total = self._words.value + self._moved_words
        for offset, size in ((self._layout.checksum_offset, 4), (self._layout.security_offset, ENTRY_SIZE)):
            total -= pe_checksum.field_sum(view.read(offset, size), offset)
        return total % pe_checksum.MODULUS


def _check_room(layout: Layout) -> None:
    """Raise `FormatError` when the largest envelope would not fit: before a key is used, not after."""
    room = LIMIT - layout.content_size - MAX_ENVELOPE - MAX_KEPT_TABLE - (64 << 10)
    if room < 0:
        raise FormatError(
            f"a signed PE is smaller than 4 GiB, with {layout.content_size} bytes no room is left", code="too-large"
        )


def _refuse_data_behind(layout: Layout) -> None:
    if layout.behind_table:
        raise FormatError(
            f"{layout.behind_table} bytes behind the certificate table, wanted the table at the end of the file",
            offset=layout.size - layout.behind_table,
            code="data-after-signature",
            hint="signing with option existing: replace keeps them, before the new table",
        )


def _refuse_other_table(view: View, layout: Layout) -> None:
    """What somebody keeps there besides signatures is theirs. Windows looks at entry 1, firmware at all of them."""
    heads = list(certificate_heads(view, layout.table_offset, layout.table_size))
    if any(is_signature(head) for head in (heads if layout.subsystem in _EFI else heads[:1])):
        return
    found = f"entry 1 begins with {heads[0].hex()}" if heads else "it has no entry"
    raise FormatError(
        f"the certificate table holds no signature, {found}", offset=layout.table_offset, code="not-signed"
    )


def _tail(state: PeState, source_size: int, end: bytes) -> tuple[Splice, ...]:
    """The old table goes, ``end`` comes behind the content; one replacement where nothing stands between them."""
    if not state.moved:
        return (Splice(state.content_end, source_size - state.content_end, end),)
    return (
        Splice(state.content_end, source_size - state.moved - state.content_end, b""),
        Splice(source_size, 0, end),
    )


def _kept_signatures(view: View, layout: Layout, existing: Existing) -> list[bytes]:
    """Signatures that stay in the file; raises `FormatError` where the table must not be touched."""
    if not layout.table_offset:
        return []
    if existing is Existing.REFUSE:
        raise FormatError(
            "the file is signed already",
            offset=layout.table_offset,
            code="already-signed",
            hint="option existing: replace or append",
        )
    if existing is Existing.REPLACE:
        return []
    _refuse_data_behind(layout)
    if layout.table_size > MAX_KEPT_TABLE:
        raise FormatError(
            f"existing signatures of {layout.table_size} bytes, at most {MAX_KEPT_TABLE} can be kept",
            offset=layout.table_offset,
            code="too-large",
        )
    kept = read_certificates(view.read(layout.table_offset, layout.table_size), layout.table_offset)
    if layout.subsystem not in _EFI:
        nest(kept[0], kept[0])  # whether it can take another signature is to be known before a key is used
    return kept


def _all_signatures(state: PeState, added: bytes) -> list[bytes]:
    """Firmware wants one entry per signature; Windows looks at the first entry and at what is nested in it."""
    try:
        kept = [base64.b64decode(text, validate=True) for text in state.kept]
    except ValueError as problem:
        raise bad_state("kept signatures are no base64") from problem
    if not kept:
        return [added]
    if state.is_efi:
        return [*kept, added]
    return [nest(kept[0], added), *kept[1:]]


def _state(prepared: Prepared) -> PeState:
    """The state as it came back from another process, checked against the sizes it speaks about."""
    state = read_state(prepared, PeState, PeFormat.name)
    ordered = (
        state.checksum_offset + CHECKSUM_SIZE <= state.security_offset
        and state.security_offset + ENTRY_SIZE <= state.content_end <= prepared.source_size - state.moved
    )
    if not ordered:
        raise bad_state("out of order")
    return state


def _facts(layout: Layout) -> dict[str, Parameter]:
    return {
        "machine": _MACHINES.get(layout.machine, f"0x{layout.machine:04x}"),
        "subsystem": _SUBSYSTEMS.get(layout.subsystem, f"0x{layout.subsystem:04x}"),
        "is_dll": bool(layout.characteristics & _DLL),
        "is_driver": layout.subsystem == _NATIVE,
        "is_efi": layout.subsystem in _EFI,
        "is_dotnet": layout.clr[0] != 0 and layout.clr[1] != 0,
        "signed_before": bool(layout.table_offset),
        "bytes_behind_table": layout.behind_table,
    }
