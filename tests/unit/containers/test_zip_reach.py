# SPDX-License-Identifier: Apache-2.0
"""What a lenient reader sees from one end record of a zip."""

from __future__ import annotations

import io
import zipfile

import pytest

from signwright.containers.base import Reach, Tally
from signwright.containers.zip_reach import reach
from signwright.errors import LimitError
from signwright.model.view import BytesView
from tests.support.zip_builder import Zip

END = b"PK\x05\x06"


def reached(content: bytes, tally: Tally | None = None) -> tuple[int, int] | None:
    found = reach(BytesView(content), content.rindex(END), tally or Tally())
    return None if found is None else (found.start, found.end)


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "not-counted"])
@pytest.mark.parametrize("wide", [True, False], ids=["wide", "narrow"])
@pytest.mark.parametrize("prefix", [b"", b"x" * 50], ids=["alone", "behind-something"])
def test_a_whole_archive_is_reached_wherever_it_stands(prefix: bytes, wide: bool, counted: bool):
    content = Zip(wide=wide, prefix=prefix, counted=counted).build()
    assert reached(content) == (len(prefix), len(content))
    outer = b"before" + content + b"behind"
    assert reached(outer) == (6 + len(prefix), 6 + len(content))


def test_nothing_is_reached_without_a_directory_or_without_members():
    content = Zip(stored=True).build()
    at = content.index(b"PK\1\2")
    assert reached(content[:at] + b"xxxx" + content[at + 4 :]) is None
    assert reached(content.replace(b"PK\3\4", b"xxxx")) is None
    assert reached(content[:30] + bytes(8) + content[30:]) is not None
    cut = Zip(members=(("a", bytes(100)),), stored=True).build()
    assert reached(b"before" + cut[:50] + bytes(8) + cut[50:]) is None


def test_what_a_record_says_of_another_place_is_reached_as_well():
    """Counted from the start of the file: there a member of another archive stands by chance, but for its name."""
    content = Zip(members=(("a", bytes(100)),), stored=True).build()
    shifted = content[:50] + bytes(8) + content[50:]
    other, same = io.BytesIO(), io.BytesIO()
    for file, name in ((other, "b"), (same, "a")):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, b"first")
    assert reached(other.getvalue()[:40] + shifted) is None
    found = reached(same.getvalue()[:40] + shifted)
    assert found is not None
    assert found[0] == 0


def test_what_is_no_end_record_counts_as_everything():
    assert reach(BytesView(b"x" * 50), 3, Tally()) == Reach(0, 50, 50)
    assert reach(BytesView(b"x" * 50 + END), 50, Tally()) == Reach(0, 54, 54)


def test_records_are_counted():
    content = Zip().build()
    tally = Tally(4)
    assert reached(content, tally) is not None
    assert tally.left == 0
    with pytest.raises(LimitError) as refusal:
        reached(content, tally)
    assert refusal.value.code == "archive-members"
    assert [Tally.of(size).left for size in (0, 1600, 1 << 40)] == [1000, 1100, 4_000_000]


@pytest.mark.parametrize("wide", [True, False], ids=["wide", "narrow"])
def test_any_bytes_give_a_range_or_nothing(wide: bool):
    content = Zip(wide=wide).build()
    for at in range(len(content)):
        for value in (0, 0xFF):
            changed = content[:at] + bytes([value]) + content[at + 1 :]
            if END in changed:
                found = reached(changed)
                assert found is None or 0 <= found[0] < found[1] <= len(changed)
