# SPDX-License-Identifier: Apache-2.0
"""XML from strangers: what is read, with names and offsets, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import FormatError
from signwright.model.strict_xml import MAX_DEPTH, MAX_ELEMENTS, MAX_TAG, local_names, read_xml

DOCUMENT = b'<?xml version="1.0" encoding="UTF-8"?><a xmlns="urn:n" x="1 &amp; 2"><!-- <c/> --><b xmlns=""/>text</a>'


def events(content: bytes) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    read_xml(
        content,
        what="part",
        code="bad-part",
        start=lambda path, attributes, offset: found.append(("start", path, attributes, offset)),
        end=lambda path, offset: found.append(("end", path, offset)),
    )
    return found


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
def test_elements_come_with_their_namespaces_and_offsets(mark: bytes) -> None:
    content = mark + DOCUMENT
    outer, inner = ("urn:n a",), ("urn:n a", "b")
    assert events(content) == [
        ("start", outer, {"x": "1 & 2"}, content.index(b"<a")),
        ("start", inner, {}, content.index(b"<b")),
        ("end", inner, content.index(b"text")),
        ("end", outer, content.index(b"</a>")),
    ]
    assert local_names(inner) == ("a", "b")


REFUSED = {
    "empty": b"",
    "no-xml": b"a",
    "cut": DOCUMENT[:-1],
    "two-roots": b"<a/><b/>",
    "bytes-behind": DOCUMENT + b"\0",
    "document-type": b"<!DOCTYPE a><a/>",
    "entities": b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    "unknown-entity": b"<a>&b;</a>",
    "other-encoding": DOCUMENT.replace(b"UTF-8", b"utf-16"),
    "latin-1": b"<a>\xe9</a>",
    "utf-16": "\ufeff<a/>".encode("utf-16-le"),
    "attribute-twice": b'<a b="1" b="2"/>',
    "prefix-without-namespace": b"<a:b/>",
    "too-deep": b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1),
    "too-many": b"<a>" + b"<b/>" * MAX_ELEMENTS + b"</a>",
    "long-tag": b"<a>" + b"<b " + b" " * MAX_TAG + b"/></a>",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_odd_is_refused_with_the_caller_s_code(name: str) -> None:
    with pytest.raises(FormatError, match=r"^part: ") as refusal:
        events(REFUSED[name])
    assert refusal.value.code == "bad-part"


def test_what_just_fits_is_read() -> None:
    assert len(events(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH)) == 2 * MAX_DEPTH


@given(st.binary(max_size=200))
def test_any_bytes_end_in_elements_or_one_of_our_errors(content: bytes) -> None:
    for data in (content, b"<a>" + content + b"</a>"):
        try:
            events(data)
        except FormatError:
            continue
