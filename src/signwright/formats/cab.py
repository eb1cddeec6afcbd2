# SPDX-License-Identifier: Apache-2.0
"""Cabinets: installers' payload, driver packages for submission, updates.

The digest covers the cabinet as it stands in the signed file, without the fields that name the signature
(`signwright.formats.cab_head.signed_part`). Signing puts a reserve of 20 bytes into the header, adds its size to every
offset, and writes the signature behind the cabinet. Each cabinet of a set is signed on its own.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Sequence

from pydantic import Field

from signwright.containers.cab_layout import HEADER_SIZE, MARK
from signwright.envelopes import der
from signwright.errors import FormatError, MalformedError
from signwright.formats.authenticode import (
    MAX_ENVELOPE,
    AuthenticodeOptions,
    Existing,
    authenticode_operation,
    check_envelope,
    nest,
)
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.cab_head import (
    LEAD,
    LIMIT,
    MAX_FOLDERS,
    NAMES,
    SIGNATURE_FIELD,
    Layout,
    is_in_set,
    read_layout,
    signed_part,
)
from signwright.formats.state import bad_state, patch_of, read_state
from signwright.model.digest import Digest
from signwright.model.one_pass import one_pass
from signwright.model.operation import Parameter, Strict
from signwright.model.patch import Patch, Splice
from signwright.model.view import View

MAX_KEPT = 512 << 10
_MAX_HEAD = NAMES + 4 * 256 + MAX_FOLDERS * 8
#: Behind signature1 and reserved1, which never change.
_FIRST_CHANGE = 8


class CabOptions(AuthenticodeOptions):
    """Options of `CabFormat`."""


class CabState(Strict):
    """What `CabFormat.embed` needs. ``head``: base64 of the signed cabinet's head without the signature's place;
    ``content_start`` and ``content_end``: of what stays, in the source; ``kept``: base64 of the existing signature that
    stays, with ``append`` only.
    """

    head: str = Field(max_length=_MAX_HEAD * 4 // 3 + 4)
    content_start: int = Field(ge=HEADER_SIZE, le=LIMIT)
    content_end: int = Field(ge=HEADER_SIZE, le=LIMIT)
    kept: str = Field(default="", max_length=MAX_KEPT * 4 // 3 + 4)


class CabFormat:
    """Implements `signwright.formats.base.Format`."""

    name = "cab"
    title = "Windows cabinet (CAB)"
    purpose = "authenticode"
    options: type[FormatOptions] = CabOptions
    digest_mode = True
    file_names = ("*",)
    detached_suffix = ""
    verifiers: tuple[str, ...] = ("osslsigncode", "relic")

    def recognizes(self, view: View) -> bool:
        return view.size >= HEADER_SIZE and view.read(0, len(MARK)) == MARK

    def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:  # noqa: ARG002 - a cabinet does not care who signs it
        """One direct operation. Memory stays at a few MiB whatever the size of ``view``."""
        if not isinstance(options, CabOptions):
            raise FormatError(f"options of {type(options).__name__}, wanted CabOptions", code="bad-options")
        layout = read_layout(view)
        head = layout.head_with()
        _check_room(layout, head)
        kept = _kept_signature(view, layout, options.existing)
        source, content = hashlib.sha256(), hashlib.new(options.digest.value, signed_part(head))

        def take_content(block: memoryview, offset: int) -> None:
            first = max(layout.content_start - offset, 0)
            content.update(block[first : max(layout.content_end - offset, 0)])

        one_pass(view, (lambda block, _: source.update(block),), take_content)
        state = CabState(
            head=base64.b64encode(head).decode(),
            content_start=layout.content_start,
            content_end=layout.content_end,
            kept=base64.b64encode(kept).decode(),
        )
        digest = Digest(options.digest.value, content.digest())
        return Prepared(
            format=self.name,
            source_sha256=source.hexdigest(),
            source_size=view.size,
            operations=(authenticode_operation("cab", digest, options),),
            facts=_facts(layout),
            state=state.model_dump(mode="json"),
        )

    def embed(self, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
        """Two replacements: the head, and the signature, padded with zeros to 8 bytes, behind the cabinet."""
        state, head, kept = _state(prepared)
        if len(envelopes) != 1:
            raise FormatError(f"{len(envelopes)} envelopes for one operation", code="bad-envelope")
        added = check_envelope(envelopes[0])
        signature = nest(kept, added) if kept else added
        signature += bytes(-len(signature) % 8)
        offset = len(head) + state.content_end - state.content_start
        if offset + len(signature) > LIMIT:
            raise FormatError(f"the signed cabinet would have {offset + len(signature)} bytes", code="too-large")
        field = struct.pack("<2I", offset, len(signature))
        head = head[:SIGNATURE_FIELD] + field + head[SIGNATURE_FIELD + len(field) :]
        return _patch(prepared.source_sha256, prepared.source_size, state, head, signature)

    def remove(self, view: View) -> Patch:
        """Without the signature, and without the reserve that named it."""
        layout = read_layout(view)
        if layout.signature is None:
            raise FormatError("the cabinet has no signature", offset=HEADER_SIZE, code="not-signed")
        source = hashlib.sha256()
        one_pass(view, (), lambda block, _: source.update(block))
        head = layout.head_without()
        state = CabState(head="", content_start=layout.content_start, content_end=layout.content_end)
        return _patch(source.hexdigest(), view.size, state, head, b"")


def _patch(source_sha256: str, source_size: int, state: CabState, head: bytes, signature: bytes) -> Patch:
    splices = (
        Splice(_FIRST_CHANGE, state.content_start - _FIRST_CHANGE, head[_FIRST_CHANGE:]),
        Splice(state.content_end, source_size - state.content_end, signature),
    )
    return patch_of(source_sha256, source_size, splices)


def _check_room(layout: Layout, head: bytes) -> None:
    """Raise `FormatError` when the largest envelope would not fit: before a key is used, not after."""
    size = len(head) + layout.content_end - layout.content_start
    if size + MAX_ENVELOPE + MAX_KEPT + (64 << 10) > LIMIT:
        raise FormatError(
            f"a cabinet has at most {LIMIT} bytes with its signature, no room is left with {size}", code="too-large"
        )


def _kept_signature(view: View, layout: Layout, existing: Existing) -> bytes:
    """The signature that stays in the file, empty without one; raises `FormatError` where none may be added."""
    if layout.signature is None or existing is Existing.REPLACE:
        return b""
    offset, size = layout.signature
    if existing is Existing.REFUSE:
        raise FormatError(
            "the cabinet is signed already",
            offset=offset,
            code="already-signed",
            hint="option existing: replace or append",
        )
    if size > MAX_KEPT:
        raise FormatError(
            f"an existing signature of {size} bytes, at most {MAX_KEPT} can be kept", offset=offset, code="too-large"
        )
    padded = view.read(offset, size)
    try:
        kept = der.read_element(padded).encoded
    except MalformedError as problem:
        raise FormatError(
            f"the existing signature does not parse: {problem.message}", offset=offset, code="bad-envelope"
        ) from problem
    if any(padded[len(kept) :]):
        raise FormatError("bytes behind the existing signature", offset=offset + len(kept), code="bad-envelope")
    nest(kept, kept)  # whether it can take another signature is to be known before a key is used
    return kept


def _state(prepared: Prepared) -> tuple[CabState, bytes, bytes]:
    """The state as it came back from another process, its head and its kept signature, checked against each other."""
    state = read_state(prepared, CabState, CabFormat.name)
    try:
        head = base64.b64decode(state.head, validate=True)
        kept = base64.b64decode(state.kept, validate=True)
    except ValueError as problem:
        raise bad_state("no base64") from problem
    size = len(head) + state.content_end - state.content_start
    is_whole = (
        state.content_start < state.content_end <= prepared.source_size
        and NAMES <= len(head) <= _MAX_HEAD
        and [int.from_bytes(head[at : at + 4], "little") for at in (8, 16)] == [size, len(head)]
        and head[HEADER_SIZE:NAMES] == LEAD + bytes(NAMES - SIGNATURE_FIELD)
    )
    if not is_whole:
        raise bad_state("out of order")
    return state, head, kept


def _facts(layout: Layout) -> dict[str, Parameter]:
    header = layout.header
    return {
        "files": header.files,
        "folders": header.folders,
        "set_id": header.set_id,
        "cabinet_number": header.index,
        "is_part_of_set": is_in_set(header),
        "signed_before": layout.signature is not None,
    }
