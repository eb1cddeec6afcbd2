# SPDX-License-Identifier: Apache-2.0
"""Compound files as containers: which streams come out, under which names, and what they explain."""

from __future__ import annotations

import pytest

from signwright.containers.base import ArchiveLimits, Place
from signwright.containers.cfb_archive import CfbArchive, CfbContainer, decoded
from signwright.errors import FormatError, LimitError
from signwright.model.view import BytesView
from tests.support.cfb_builder import Cfb
from tests.support.msi_builder import SHAPES, some_tree, wixl_installer
from tests.support.msi_vectors import BROKEN


def opened(content: bytes, **limits: int) -> CfbArchive:
    place = CfbContainer().claims(BytesView(content))
    assert place == Place("cfb", 0, len(content))
    return CfbContainer().open(BytesView(content), place, ArchiveLimits(**limits))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_stream_with_content_comes_out(shape):
    archive = opened(SHAPES[shape].build())
    found = {member.name: b"".join(archive.read(member)) for member in archive.members}
    assert len(found) == len(archive.members)
    assert all(found.values())
    if "Large" in found:
        assert found["storage/deeper/q"] == b"1"
        assert found["Large"] == some_tree()["Large"]


def test_names_of_windows_installer_are_readable():
    names = [member.name for member in opened(wixl_installer()).members]
    assert {"!_Columns", "!_StringData", "product.cab", "\\x05SummaryInformation"} <= set(names)
    assert decoded("䡀㬿䏲䐸䖱") == "!_Columns"
    assert decoded("plain") == "plain"


def test_names_of_other_programs_are_left_as_they_are():
    (member,) = opened(Cfb({"䡀㬿": b"x"}, clsid=bytes(16)).build()).members
    assert member.name == "䡀㬿"


def test_only_the_bytes_of_streams_are_explained():
    one = SHAPES["version-3"]
    content = one.build()
    archive = opened(content)
    explained = sum(end - start for start, end in archive.covered)
    assert explained == sum(len(archive.read(m).__next__()) for m in archive.members if m.size >= 4096)
    assert all(content[start:end] for start, end in archive.covered)
    assert archive.covered == sorted(archive.covered)


def test_what_is_no_compound_file_is_not_claimed_and_none_is_found_within_a_file():
    container = CfbContainer()
    content = b"x" * 512 + wixl_installer()
    assert container.claims(BytesView(content)) is None
    assert container.places(BytesView(content), 0, len(content)) == []


@pytest.mark.parametrize("defect", [name for name, (_, code) in BROKEN.items() if code == "cfb-shared"])
def test_a_file_that_contradicts_itself_is_claimed_and_refused(defect):
    with pytest.raises(FormatError):
        opened(BROKEN[defect][0])


def test_limits_hold_before_anything_is_read():
    with pytest.raises(LimitError) as refusal:
        opened(wixl_installer(), members=3)
    assert refusal.value.code == "archive-members"
    with pytest.raises(LimitError) as refusal:
        opened(wixl_installer(), total=1000)
    assert refusal.value.code == "archive-total"


def test_blocks_are_small():
    archive = opened(Cfb({"Large": bytes(3 << 20)}).build())
    assert max(map(len, archive.read(archive.members[0]))) == 1 << 18
