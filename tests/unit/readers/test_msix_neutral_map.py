# SPDX-License-Identifier: Apache-2.0
"""What of a block map stays when members are signed."""

from __future__ import annotations

from functools import cache

import pytest

from signwright.errors import FormatError
from signwright.readers.msix_members import neutral_block_map
from tests.support.msix_block_maps import HEAD, LOGO, PACKAGE, block_map_of, hash_of


@cache
def text() -> bytes:
    return block_map_of(PACKAGE.build())


def changed_row(text: bytes) -> bytes:
    """The first file with other numbers, hashes, blanks and order."""
    start, end = text.index(b"<File "), text.index(b"</File>")
    row = f"<File\tSize='1' LfhSize = '99'\n Name='app.exe' > <Block Size='7' Hash='{hash_of(b'')}' /> "
    return text[:start] + row.encode() + text[end:]


def test_only_the_name_of_a_changed_file_counts() -> None:
    found = neutral_block_map(text(), ["app.exe"])
    assert neutral_block_map(changed_row(text()), ["app.exe"]) == found
    without = text()[: text().index(b"<File ")] + b'<File Name="app.exe" Size="0" LfhSize="37"/>'
    without += text()[text().index(b"</File>") + 7 :]
    assert neutral_block_map(without, ["app.exe"]) == found
    closed = without.replace(b'LfhSize="37"/>', b'LfhSize="37"></File>')
    assert neutral_block_map(closed, ["app.exe"]) == found
    assert found != neutral_block_map(text(), [])
    assert found.startswith(b"bytes %d\n<?xml" % text().index(b"<File "))


def test_names_are_those_of_the_zip() -> None:
    assert b"\nAssets\\Logo of it.pngbytes" in neutral_block_map(text(), [LOGO, "app.exe"])
    assert neutral_block_map(text(), [LOGO, "app.exe"]) == neutral_block_map(text(), ["app.exe", LOGO])
    for name in ("Assets/Logo%2520of%2520it.png", "Assets\\Logo of it.png", "App.exe", "R%26D%25.txt"):
        with pytest.raises(FormatError):
            neutral_block_map(text(), [name])


OUTSIDE = {
    "comment before": (b"<BlockMap ", b"<!-- --><BlockMap "),
    "comment in the map": (b"<File ", b"<!-- --><File "),
    "comment at the end": (b"</BlockMap>", b"</BlockMap><!-- -->"),
    "instruction": (b"<BlockMap ", b"<?x?><BlockMap "),
    "blank": (b"</BlockMap>", b" </BlockMap>"),
    "text": (b"</BlockMap>", b"x</BlockMap>"),
    "attribute of the map": (b"<BlockMap ", b'<BlockMap More="1" '),
    "namespace of the map": (b"<BlockMap ", b'<BlockMap xmlns:q="urn:q" '),
    "hash method": (b"xmlenc#sha256", b"xmlenc#sha512"),
    "ignored namespaces": (b'IgnorableNamespaces="b4"', b'IgnorableNamespaces=""'),
    "attribute of another file": (b'<File Name="Assets', b'<File More="1" Name="Assets'),
    "size of another file": (b'Size="504"', b'Size="505"'),
    "header of another file": (b'LfhSize="31"', b'LfhSize="32"'),
    "hash of another file": (hash_of(b"a").encode(), hash_of(b"b").encode()),
    "a file more": (b"</BlockMap>", b'<File Name="x" Size="0" LfhSize="31"/></BlockMap>'),
    "a file less": (b'<File Name="0" Size="0" LfhSize="31"></File>', b""),
    "another name": (b'Name="0"', b'Name="1"'),
    "declaration": (b'standalone="no"', b'standalone="yes"'),
    "mark": (b"<?xml", b"\xef\xbb\xbf<?xml"),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_everything_else_counts(case: str) -> None:
    old, new = OUTSIDE[case]
    wrong = text().replace(old, new, 1)
    assert wrong != text()
    assert neutral_block_map(changed_row(wrong), ["app.exe"]) != neutral_block_map(text(), ["app.exe"])


def test_the_place_of_a_changed_file_counts() -> None:
    start, end = text().index(b"<File "), text().index(b"</File>") + 7
    moved = (text()[:start] + text()[end:]).replace(b"</BlockMap>", text()[start:end] + b"</BlockMap>")
    assert neutral_block_map(moved, ["app.exe"]) != neutral_block_map(text(), ["app.exe"])


def test_what_stands_for_a_row_cannot_be_written_outside_of_one() -> None:
    """Every part has its length: text that looks like the neutral form of a row is text."""
    start, end = text().index(b"<File "), text().index(b"</File>") + 7
    forged = text()[:start] + b"file 7\napp.exe" + text()[end:]
    with pytest.raises(FormatError):
        neutral_block_map(forged, ["app.exe"])
    assert neutral_block_map(forged, []) != neutral_block_map(text(), ["app.exe"])


INSIDE = {
    "comment": (HEAD, HEAD + "<!-- -->"),
    "instruction": (HEAD, HEAD + "<?x?>"),
    "character data": (HEAD, HEAD + "<![CDATA[ ]]>"),
    "text": (HEAD, HEAD + "x"),
    "text like the end of a tag": (HEAD, HEAD + "/>"),
    "attribute": (HEAD, HEAD[:-1] + ' More="1">'),
    "namespace": (HEAD, HEAD[:-1] + ' xmlns:q="urn:q">'),
    "namespace of a block": ("<Block ", '<Block xmlns="http://schemas.microsoft.com/appx/2010/blockmap" '),
    "attribute of a block": ("<Block ", '<Block More="1" '),
    "attribute of the file's hash": ("<b4:FileHash ", '<b4:FileHash Size="1" '),
    "entity": ('"app.exe"', '"app&#46;exe"'),
    "element": (HEAD, HEAD + "<More/>"),
    "element of another namespace": (HEAD, HEAD + "<b4:Block/>"),
    "element in a block": ("/><b4:", "><Block/></Block><b4:"),
    "file in the file": (HEAD, HEAD + HEAD + "</File>"),
    "twice": (HEAD, HEAD + "</File>" + HEAD),
    "not there": ('"app.exe"', '"app2.exe"'),
    "another place": (HEAD, f"<More>{HEAD}</File></More>" + HEAD.replace("app", "a")),
}


@pytest.mark.parametrize("case", INSIDE)
def test_more_in_a_changed_row_than_sizes_and_hashes_is_refused(case: str) -> None:
    old, new = INSIDE[case]
    assert old.encode() in text()
    with pytest.raises(FormatError) as refusal:
        neutral_block_map(text().replace(old.encode(), new.encode(), 1), ["app.exe"])
    assert refusal.value.code == "bad-block-map"


@pytest.mark.parametrize("name", ["%ff", "a%2Fb", "a\\b", "\u00e4", "\udc80"], ids=ascii)
def test_a_changed_name_that_is_not_one_file_s_is_refused(name: str) -> None:
    with pytest.raises(FormatError) as refusal:
        neutral_block_map(text(), [name])
    assert refusal.value.code == "zip-name"
