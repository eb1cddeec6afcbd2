# SPDX-License-Identifier: Apache-2.0
"""Facts from an installer's summary information stream (MS-OLEPS 2.18 to 2.25, "Summary Information Stream Reference").

What does not read, or could not be shown as it is, gives no fact: such a file is signed all the same, but no rule that
asks for the fact is met.
"""

from __future__ import annotations

import codecs
import struct

from signwright.containers.cfb import STREAM, CompoundFile
from signwright.errors import FormatError
from signwright.model.operation import Parameter
from signwright.model.text import first_bad_character

_NAME = "\x05SummaryInformation".encode("utf-16-le")
_FORMAT = bytes.fromhex("e0859ff2f94f6810ab9108002b27b3d9")
_MAX_STREAM, _MAX_PROPERTIES, _MAX_VALUE = 64 << 10, 64, 256
_CODEPAGE, _TEXT, _NUMBER = 1, 30, 2
_WANTED = {2: "title", 3: "subject", 4: "author", 7: "template", 9: "package_code"}
_CABINET = b"MSCF"


def summary_facts(file: CompoundFile) -> dict[str, Parameter]:
    """``title``, ``subject`` (the product), ``author``, ``template`` (platforms and languages), ``package_code``."""
    entry = file.child(file.root, _NAME)
    if entry is None or entry.kind != STREAM or entry.size > _MAX_STREAM:
        return {}
    try:
        return _texts(file.read(entry, _MAX_STREAM))
    except (struct.error, UnicodeError, LookupError, FormatError):
        return {}


def cabinets(file: CompoundFile) -> int:
    """Number of streams that begin like a cabinet."""
    found = 0
    for entry in file.entries:
        if entry.kind == STREAM and entry.size > len(_CABINET):
            offset, _ = next(file.pieces(entry))
            found += file.view.read(offset, len(_CABINET)) == _CABINET
    return found


def _texts(stream: bytes) -> dict[str, Parameter]:
    order, _, _, _, sets, identifier, start = struct.unpack_from("<HHI16sI16sI", stream)
    if order != 0xFFFE or sets < 1 or identifier != _FORMAT:
        return {}
    size, count = struct.unpack_from("<II", stream, start)
    section = stream[start : start + size]
    if count > _MAX_PROPERTIES:
        return {}
    rows = dict(struct.iter_unpack("<II", section[8 : 8 + 8 * count]))
    if len(rows) != count:
        return {}  # a property that stands twice, or less than promised
    codec = _codec(section, rows)
    facts: dict[str, Parameter] = {}
    for number, name in _WANTED.items():
        if number not in rows:
            continue
        kind, length = struct.unpack_from("<II", section, rows[number])
        raw = section[rows[number] + 8 : rows[number] + 8 + length]
        if kind != _TEXT or len(raw) != length:
            return {}
        text = raw.split(b"\0", 1)[0].decode(codec)
        if text and len(text) <= _MAX_VALUE and first_bad_character(text) is None:
            facts[name] = text
    return facts


def _codec(section: bytes, rows: dict[int, int]) -> str:
    """The name of the code page; without one, or with the neutral one, only ASCII is read."""
    if _CODEPAGE not in rows:
        return "ascii"
    kind, page = struct.unpack_from("<IH", section, rows[_CODEPAGE])
    if kind != _NUMBER or page in {0, 20127}:
        return "ascii"
    return "utf-8" if page == 65001 else codecs.lookup(f"cp{page}").name
