# SPDX-License-Identifier: Apache-2.0
"""Compound files: what is inside, in every shape; what is refused."""

from __future__ import annotations

import io
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.containers.cfb import STORAGE, STREAM, CompoundFile, Entry, looks_like_cfb, name_key
from signwright.errors import FormatError
from signwright.model.view import BytesView
from tests.support.cfb_builder import Cfb, Repeated, Tree
from tests.support.msi_builder import SHAPES, filled, some_tree, wixl_installer
from tests.support.msi_vectors import BROKEN


def opened(content: bytes) -> CompoundFile:
    return CompoundFile(BytesView(content))


def tree_in(file: CompoundFile, storage: Entry) -> Tree:
    return {
        entry.text: tree_in(file, entry) if entry.kind == STORAGE else file.read(entry, 1 << 30)
        for entry in file.children(storage)
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_everything_in_a_file_comes_out_again(shape):
    file = opened(SHAPES[shape].build())
    assert tree_in(file, file.root) == SHAPES[shape].tree
    file.check_order(file.root)


@pytest.mark.parametrize("defect", [name for name, (_, code) in BROKEN.items() if code.startswith("cfb-")])
def test_a_file_that_contradicts_itself_is_refused(defect):
    content, code = BROKEN[defect]
    with pytest.raises(FormatError) as refusal:
        file = opened(content)
        tree_in(file, file.root)
        file.check_order(file.root)
    assert refusal.value.code == code


@pytest.mark.parametrize(("tables", "version"), [(109, 3), (110, 3), (236, 3), (237, 3), (1, 4), (2, 4)])
def test_tables_of_any_length_are_followed(tables, version):
    one = filled(tables, version)
    file = opened(one.build())
    assert len(file.fat_places) == tables
    assert len(file.difat_places) == (0 if tables <= 109 or version == 4 else 1 if tables <= 236 else 2)
    (entry,) = file.children(file.root)
    assert file.read(entry, 1 << 30) == one.tree["Only"]


def test_a_stream_in_one_run_is_one_piece():
    file = opened(Cfb({"Only": bytes(1 << 20)}).build())
    (entry,) = file.children(file.root)
    assert [length for _, length in file.pieces(entry)] == [1 << 20]


def test_a_stream_above_the_limit_is_not_read():
    file = opened(SHAPES["version-3"].build())
    large = next(entry for entry in file.children(file.root) if entry.text == "Large")
    with pytest.raises(FormatError) as refusal:
        file.read(large, 100)
    assert refusal.value.code == "too-large"


def test_a_genuine_package_is_read():
    file = opened(wixl_installer())
    names = {entry.text for entry in file.children(file.root) if entry.kind == STREAM}
    assert "\x05SummaryInformation" in names
    assert sum(byte == 0 for byte in file.owned) == 0


def test_names_are_ordered_by_length_and_upper_case():
    names = ["b", "C", "aa", "AB", "Ä", "ä1", "ß", "\U00010428"]
    keys = sorted(names, key=lambda name: name_key(name.encode("utf-16-le")))
    assert keys == ["b", "C", "Ä", "ß", "aa", "AB", "ä1", "\U00010428"]
    assert name_key("straße".encode("utf-16-le")) != name_key("STRASSE".encode("utf-16-le"))


def test_only_the_magic_is_recognised():
    assert looks_like_cfb(BytesView(SHAPES["version-4"].build()))
    assert not any(looks_like_cfb(BytesView(content)) for content in (b"", b"\xd0\xcf\x11\xe0", bytes(1000)))


def test_a_cut_sector_gives_no_byte_that_is_not_there():
    content = SHAPES["last-sector-cut"].build()
    file = opened(content)
    assert tree_in(file, file.root) == SHAPES["last-sector-cut"].tree
    with pytest.raises(FormatError) as refusal:
        cut = opened(content[:-1])
        tree_in(cut, cut.root)
    assert refusal.value.code == "cfb-truncated"


@given(st.integers(0, 14335), st.binary(min_size=1, max_size=8))
def test_junk_gives_a_format_error_at_worst(at, junk):
    content = BROKEN["word-document"][0]
    bent = content[:at] + junk + content[at + len(junk) :]
    try:
        file = opened(bent)
        tree_in(file, file.root)
        file.check_order(file.root)
    except FormatError:
        pass


@given(st.dictionaries(st.text(st.characters(min_codepoint=32, max_codepoint=0x3FFF), min_size=1, max_size=20),
                       st.binary(max_size=6000), max_size=9), st.booleans(), st.integers(0, 3))  # fmt: skip
@settings(max_examples=30)
def test_any_streams_come_out_again(streams, wide, gaps):
    tree: Tree = dict(streams)
    if len({name_key(name.encode("utf-16-le")) for name in tree}) != len(tree):
        return
    file = opened(Cfb(tree, version=4 if wide else 3, gaps=gaps, mini_gaps=gaps, scatter=gaps).build())
    assert tree_in(file, file.root) == tree


def test_memory_is_a_byte_for_each_sector():
    target = io.BytesIO()
    Cfb({**some_tree(), "Huge": Repeated(bytes(1 << 16), 32 << 20)}).write_to(target)
    view = BytesView(target.getvalue())
    tracemalloc.start()
    file = CompoundFile(view)
    for entry in file.children(file.root):
        for _ in file.blocks(entry) if entry.kind == STREAM else ():
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
