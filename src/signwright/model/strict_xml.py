# SPDX-License-Identifier: Apache-2.0
"""XML from strangers, for formats and readers: the standard library's expat, and everything odd refused.

No document type, and so no entities of its own; UTF-8 only, with or without its mark; bounded depth, number of elements
and length of tags. Names are ``namespace local``, with a blank between, or ``local`` alone where there is no namespace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from xml.parsers import expat

from signwright.errors import FormatError

#: The largest block map of a package has an element for each 64 KiB of 16 GiB, and some for its files.
MAX_DEPTH, MAX_ELEMENTS = 32, 300_000
UTF8 = frozenset({"utf-8"})
#: Bytes from one tag to the next: as many attributes of one element are in memory at once.
MAX_TAG = 1 << 20
_LONG_TAG = re.compile(rb"<[^<]{%d}" % MAX_TAG)

#: Names of the element and those around it, outermost first; its attributes; offset of its start tag in the bytes.
Start = Callable[[tuple[str, ...], dict[str, str], int], None]
#: Names as above; offset of the end tag, or behind the element where it has none.
End = Callable[[tuple[str, ...], int], None]


def read_xml(
    content: bytes,
    *,
    what: str,
    code: str,
    start: Start,
    end: End | None = None,
    text: Callable[[str], None] | None = None,
    encodings: Collection[str] | None = UTF8,
) -> None:
    """Calls ``start`` and ``end`` for each element, ``text`` for what is between tags, in pieces.

    ``encodings``: names in small letters that the document may say for UTF-8; None for one that the caller has
    converted. Raises `FormatError` with ``code``; ``what`` begins its message.
    """
    count = 0
    path: list[str] = []

    def refuse(found: str) -> FormatError:
        return FormatError(f"{what}: {found}", code=code)

    def declaration(version: str, encoding: str | None, standalone: int) -> None:
        del version, standalone
        if encodings is not None and (encoding or "utf-8").lower() not in encodings:
            raise refuse(f"encoding {(encoding or '')[:40]!r}, wanted UTF-8")

    def document_type(*_: object) -> None:
        raise refuse("a document type, which could define entities")

    def start_element(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        path.append(name)
        count += 1
        if len(path) > MAX_DEPTH or count > MAX_ELEMENTS:
            raise refuse(f"elements deeper than {MAX_DEPTH}, or more than {MAX_ELEMENTS}")
        start(tuple(path), attributes, parser.CurrentByteIndex)

    def end_element(name: str) -> None:
        del name
        if end is not None:
            end(tuple(path), parser.CurrentByteIndex)
        path.pop()

    parser = expat.ParserCreate("utf-8", " ")
    parser.XmlDeclHandler = declaration
    parser.StartDoctypeDeclHandler = document_type
    parser.StartElementHandler = start_element
    parser.EndElementHandler = end_element
    if text is not None:
        parser.buffer_text = True
        parser.CharacterDataHandler = text
    if _LONG_TAG.search(content):
        raise refuse(f"more than {MAX_TAG} bytes from one tag to the next")
    try:
        content.decode()
        parser.Parse(content, True)
    except UnicodeDecodeError as problem:
        raise refuse("not UTF-8") from problem
    except expat.ExpatError as problem:
        raise refuse(f"no XML: {problem}") from problem


def local_names(path: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a path without their namespaces."""
    return tuple(name.rpartition(" ")[2] for name in path)
