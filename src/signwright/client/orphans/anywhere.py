# SPDX-License-Identifier: Apache-2.0
"""CMS structures in files whose format no reader here knows: in one piece, in DER or as base64 lines of a text."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from signwright.errors import FormatError
from signwright.model.view import BytesView, View
from signwright.readers.cms import MAX_ENVELOPE

MAX_FOUND = 256
#: Texts up to this are searched for base64.
MAX_TEXT = 4 << 20
#: So many lines of one run are tried as its beginning.
_MAX_STARTS = 8
_BLOCK = 1 << 20
#: id-signedData, the first member of a ContentInfo, and what base64 makes of the SEQUENCE around it.
_SIGNED_DATA, _BEGIN = bytes.fromhex("06092a864886f70d010702"), b"MI"
#: One line of base64, behind the comment sign of a script and before the one that ends it; and one that has no such
#: signs, however long. Between the parts of the first, blanks can be shared out in many ways: its length has an end.
_MAX_SHORT = 256
_LINE = rb"([A-Za-z0-9+/]+={0,2})[ \t]*(?:-->)?\s*"
_BARE = re.compile(rb"[ \t]*" + _LINE)
#: ``//`` may be a comment sign, and two digits of base64: the first line of a run says what it is in all of them.
_FORMS = (
    _BARE,
    *(re.compile(rb"[ \t]*" + sign + rb"[ \t]*" + _LINE) for sign in (rb"#", rb"'", rb"//", rb";", rb"<!--")),
)
_LONG = re.compile(rb"([A-Za-z0-9+/]+={0,2})\r?\n?")


def structures_in(view: View) -> Iterator[bytes]:
    """What could be the DER of a ContentInfo with SignedData. Raises `FormatError` for a file that is full of them."""
    for number, encoding in enumerate(chain(_binary(view), _textual(view))):
        if number >= MAX_FOUND:
            raise FormatError(f"more than {MAX_FOUND} signatures in one file", code="too-large")
        yield encoding


def _binary(view: View) -> Iterator[bytes]:
    free = 0  # what lies within a structure is found by its reader
    for first in range(0, view.size, _BLOCK):
        block = view.read(first, min(_BLOCK + len(_SIGNED_DATA) - 1, view.size - first))
        at = block.find(_SIGNED_DATA)
        while at >= 0:
            extent = _around(view, first + at) if first + at >= free else None
            if extent is not None:
                free = extent[1]
                yield view.read(extent[0], extent[1] - extent[0])
            at = block.find(_SIGNED_DATA, at + 1)


def _around(view: View, position: int) -> tuple[int, int] | None:
    """Start and end of the SEQUENCE whose first member is at ``position``; None unless it ends within the file."""
    for header in (2, 3, 4, 5):
        if position < header:
            return None
        raw = view.read(position - header, header)
        wide = header > 2
        if raw[0] != 0x30 or (raw[1] != 0x80 + header - 2 if wide else raw[1] >= 0x80):
            continue
        length = int.from_bytes(raw[2:] if wide else raw[1:])
        if length <= MAX_ENVELOPE and position + length <= view.size:
            return position - header, position + length
    return None


def _textual(view: View) -> Iterator[bytes]:
    if not 64 <= view.size <= MAX_TEXT:
        return
    content = view.read(0, view.size)
    if _BEGIN not in content or b"\0" in content[:1024]:
        return
    run: list[bytes] = []
    form = _LONG
    for line in chain(io.BytesIO(content), (b"-",)):
        short = len(line) <= _MAX_SHORT
        if not run and _BEGIN in line:
            form = next((one for one in _FORMS if short and _begins(one.fullmatch(line))), _LONG)
        match = (form if short else _LONG).fullmatch(line) if run or _BEGIN in line else None
        if match is not None and (run or _begins(match)):
            run.append(match[1])
        elif run:
            yield from _decoded(run)
            run = []


def _begins(match: re.Match[bytes] | None) -> bool:
    return match is not None and match[1].startswith(_BEGIN)


def _decoded(run: Sequence[bytes]) -> Iterator[bytes]:
    """From the first line on that is a beginning: the one before it may be a word that reads like one."""
    starts = (at for at, line in enumerate(run) if line.startswith(_BEGIN))
    for at in islice(starts, _MAX_STARTS):
        try:
            found = list(_binary(BytesView(base64.b64decode(b"".join(run[at:]), validate=True))))
        except binascii.Error:
            continue
        if found:
            yield from found
            return
