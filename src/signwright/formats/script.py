# SPDX-License-Identifier: Apache-2.0
"""What all signed scripts have in common: one pass over the text, a block of comments, one direct operation.

The digest covers the text without its block, in UTF-16LE: with the byte order mark for PowerShell, without it and
followed by the position of the block (4 bytes, little-endian, in UTF-16 units) for the Windows Script Host. No
specification says so; the rule was compared with blocks that Windows wrote (``docs/formats/powershell.md``,
``docs/formats/windows-script.md``).

Text that Windows could read in more than one way is refused, or rewritten where the option ``convert`` asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from signwright.errors import FormatError
from signwright.formats.authenticode import Existing, authenticode_operation, check_envelope
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.script_block import Block
from signwright.formats.script_family import Family
from signwright.formats.script_reading import (
    FINE_LINE_ENDS,
    MAX_CONVERTED,
    Found,
    ScriptReading,
    find_script,
    pack_text,
    unpack_text,
)
from signwright.formats.script_text import (
    HEAD,
    TextEncoding,
    check_declaration,
    encoding_of,
    head_of,
    looks_like_text,
)
from signwright.formats.state import bad_state, patch_of, read_state
from signwright.model.operation import Parameter, Strict
from signwright.model.patch import Patch, Splice
from signwright.model.view import View


class ScriptState(Strict):
    """What `ScriptFormat.embed` needs: the block replaces ``replaced`` bytes at ``place``. ``converted``: base64 of the
    deflated new text (RFC 1950) where it is rewritten, and the place of the block in it.
    """

    place: int = Field(ge=0)
    replaced: int = Field(ge=0)
    encoding: TextEncoding = Field(strict=False)
    style: str
    converted: str | None = None
    converted_place: int = Field(default=0, ge=0, le=MAX_CONVERTED)


class ScriptFormat:
    """Implements `signwright.formats.base.Format` for one `Family`."""

    purpose = "authenticode"
    digest_mode = True
    detached_suffix = ""

    def __init__(self, family: Family) -> None:
        self._family = family
        self.name = family.name
        self.title = family.title
        self.file_names = family.file_names
        self.verifiers = family.verifiers
        self.options: type[FormatOptions] = family.options

    def recognizes(self, view: View) -> bool:
        """Text that can be of this kind. No content tells one kind of script from another for certain, nor from prose:
        policies name them by `file_names`.
        """
        return looks_like_text(view) and self._family.belongs(head_of(view, encoding_of(view)))

    def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:  # noqa: ARG002 - a script does not care who signs it
        """One direct operation. Memory stays at a few MiB, and at the size of the text where it is rewritten."""
        family = self._family
        if not isinstance(options, family.options):
            raise FormatError(
                f"options of {type(options).__name__}, wanted {family.options.__name__}", code="bad-options"
            )
        found = find_script(family, view)
        if found.block and options.existing is Existing.REFUSE:
            raise FormatError(
                "the script is signed already",
                offset=found.block.start,
                code="already-signed",
                hint="option existing: replace",
            )
        if found.block:
            _check_signature(found.block, "bad-signature-block")
        head = head_of(view, found.encoding, found.start)
        if not head.strip() and found.start > HEAD:
            raise FormatError("white space where the text should show its language", code="bad-style")
        style = family.style_of(head, options)
        reading = ScriptReading(family, found, options)
        reading.take_all(view)
        encoding = _encoding_to_be(family, reading, convert=options.convert)
        check_declaration(head, encoding)
        converted = reading.converted(encoding)
        return Prepared(
            format=self.name,
            source_sha256=reading.source.hexdigest(),
            source_size=view.size,
            operations=(authenticode_operation(self.name, reading.digest(encoding), options),),
            facts=_facts(found, reading, style, converted=converted is not None),
            state=ScriptState(
                place=found.start,
                replaced=found.end - found.start,
                encoding=encoding,
                style=style,
                converted=None if converted is None else pack_text(converted[0]),
                converted_place=0 if converted is None else converted[1],
            ).model_dump(mode="json"),
        )

    def embed(self, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
        """One replacement: the block, or the rewritten text with the block in it."""
        state = self._state(prepared)
        if len(envelopes) != 1:
            raise FormatError(f"{len(envelopes)} envelopes for one operation", code="bad-envelope")
        block = self._family.styles[state.style].write(check_envelope(envelopes[0]), state.encoding)
        splice = Splice(state.place, state.replaced, block)
        if state.converted is not None:
            text, place = unpack_text(state.converted), state.converted_place
            splice = Splice(0, prepared.source_size, text[:place] + block + text[place:])
        return patch_of(prepared.source_sha256, prepared.source_size, (splice,))

    def remove(self, view: View) -> Patch:
        """The file without its block: byte for byte what was signed, or what it was rewritten to."""
        found = find_script(self._family, view)
        if found.block is None:
            raise FormatError("the script has no signature block at its end", code="not-signed")
        _check_signature(found.block, "not-signed")
        reading = ScriptReading(self._family, found, self._family.options())
        reading.take_all(view)
        return patch_of(reading.source.hexdigest(), view.size, (Splice(found.start, found.end - found.start, b""),))

    def _state(self, prepared: Prepared) -> ScriptState:
        """The state as it came back from another process, checked against what it speaks about."""
        state = read_state(prepared, ScriptState, self.name)
        known = state.style in self._family.styles and state.encoding in self._family.accepted
        inside = state.place + state.replaced <= prepared.source_size
        if not (known and inside):
            raise bad_state("out of order")
        return state


def _check_signature(block: Block, code: str) -> None:
    """Raise `FormatError` unless the block holds what a signature begins with: text of a person looks like it too."""
    try:
        check_envelope(block.content)
    except FormatError as problem:
        raise FormatError(
            f"the block at the end holds {len(block.content)} bytes and no signature ({problem.message})",
            offset=block.start,
            code=code,
            hint="remove the block by hand if it is none",
        ) from problem


def _encoding_to_be(family: Family, reading: ScriptReading, *, convert: bool) -> TextEncoding:
    """How the signed file will be written; raises `FormatError` for text that is to be rewritten and may not be."""
    encoding, line_ends = reading.written_as, reading.survey.line_ends
    fix = f"option convert: yes writes CRLF line ends and, where the encoding is in doubt, {family.target}"
    if encoding not in family.accepted and not convert:
        why = "which not every Windows reads as such" if encoding.mark else "which Windows reads in its own code page"
        raise FormatError(f"text in {encoding}, {why}", code="encoding", hint=fix)
    if line_ends not in FINE_LINE_ENDS and not convert:
        raise FormatError(f"line ends are {line_ends}; Windows may digest other ones", code="line-endings", hint=fix)
    return encoding if encoding in family.accepted else family.target


def _facts(found: Found, reading: ScriptReading, style: str, *, converted: bool) -> dict[str, Parameter]:
    """Encoding and line ends are those of the source."""
    return {
        "encoding": reading.written_as.value,
        "line_endings": reading.survey.line_ends,
        "style": style,
        "converted": converted,
        "signed_before": found.block is not None,
    }
