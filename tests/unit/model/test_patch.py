# SPDX-License-Identifier: Apache-2.0
"""Patches: what is written is read, nothing else is; two in a row are one; each fits its sizes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import MalformedError
from signwright.model import patch as patches
from signwright.model.patch import MAGIC, Patch, Patched, Splice, compose, sealed
from signwright.model.view import BytesView

SOURCE = b"0123456789"
SHA256 = hashlib.sha256(SOURCE).hexdigest()


def made(source: bytes, *splices: Splice) -> Patch:
    """Sealed over ``source``."""
    grown = sum(len(s.insert) - s.remove for s in splices)
    bare = Patch(hashlib.sha256(source).hexdigest(), len(source), "", len(source) + grown, splices)
    return sealed(BytesView(source), bare)


def applied(source: bytes, splices: Sequence[Splice]) -> bytes:
    """Written down naively: from the last to the first."""
    for splice in reversed(splices):
        source = source[: splice.offset] + splice.insert + source[splice.offset + splice.remove :]
    return source


def result(source: bytes, patch: Patch) -> bytes:
    overlay = Patched(BytesView(source), patch)
    return overlay.read(0, overlay.size)


@st.composite
def splices(draw: st.DrawFn, size: int) -> tuple[Splice, ...]:
    """Ordered replacements within ``size`` bytes, also such that touch, insert only, or do nothing."""
    cuts = sorted(draw(st.lists(st.integers(0, size), max_size=8)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    return tuple(Splice(start, stop - start, draw(st.binary(max_size=6))) for start, stop in pairs)


@given(st.binary(max_size=40), st.data())
def test_patch_does_what_its_replacements_say_and_survives_its_wire_form(source: bytes, data: st.DataObject) -> None:
    rows = data.draw(splices(len(source)))
    patch = made(source, *rows)
    assert result(source, patch) == applied(source, rows)
    assert patch.result_sha256 == hashlib.sha256(applied(source, rows)).hexdigest()
    assert Patch.decode(patch.encode()) == patch
    assert patch.inserted == sum(len(row.insert) for row in rows)
    overlay = Patched(BytesView(source), patch)
    start = data.draw(st.integers(0, overlay.size))
    stop = data.draw(st.integers(start, overlay.size))
    assert overlay.read(start, stop - start) == applied(source, rows)[start:stop]


@given(st.binary(max_size=40), st.data())
def test_two_patches_in_a_row_are_one(source: bytes, data: st.DataObject) -> None:
    first = made(source, *data.draw(splices(len(source))))
    between = result(source, first)
    second = made(between, *data.draw(splices(len(between))))
    both = compose(first, second)
    assert result(source, both) == result(between, second)
    assert (both.source_sha256, both.result_sha256) == (first.source_sha256, second.result_sha256)
    ends = [splice.offset + splice.remove for splice in both.splices]
    assert all(end < later.offset for end, later in zip(ends, both.splices[1:], strict=False)), "none could be joined"
    assert all(splice.remove or splice.insert for splice in both.splices)
    assert both.inserted <= first.inserted + second.inserted


def test_second_patch_of_another_file_is_not_composed() -> None:
    first = made(SOURCE, Splice(0, 1, b"x"))
    after = result(SOURCE, first)
    assert compose(first, made(after)).result_sha256 == first.result_sha256
    for other in (made(b"y" + after[1:]), made(after + b"z")):
        with pytest.raises(MalformedError) as refused:
            compose(first, other)
        assert refused.value.code == "patch-mismatch"
    unread = Patch(SHA256, 10, "", 10, first.splices)
    with pytest.raises(MalformedError) as refused:
        compose(unread, made(after + b"z"))
    assert refused.value.code == "patch-mismatch"
    assert result(SOURCE, compose(unread, made(after, Splice(9, 1, b"z")))) == b"x12345678z"


@pytest.mark.parametrize(
    "rows",
    [
        [Splice(0, 3, b"abc"), Splice(2, 1, b"d")],
        [Splice(5, 1, b"a"), Splice(2, 1, b"d")],
        [Splice(0, 11, b"a" * 11)],
        [Splice(11, 0, b"")],
        [Splice(-1, 1, b"a")],
        [Splice(3, -1, b"")],
        [Splice(4, -2, b"")],
    ],
    ids=str,
)
def test_replacements_that_overlap_or_leave_the_file_are_refused(rows: list[Splice]) -> None:
    grown = sum(len(s.insert) - s.remove for s in rows)
    with pytest.raises(MalformedError) as refused:
        Patch(SHA256, 10, "", 10 + grown, tuple(rows))
    assert refused.value.code == "bad-patch"


def test_sizes_must_fit_the_replacements_and_the_file() -> None:
    for size in (9, 11):
        with pytest.raises(MalformedError, match="does not fit"):
            Patch(SHA256, 10, "", size, (Splice(0, 1, b"x"),))
        with pytest.raises(MalformedError, match="made for 10 bytes"):
            Patched(BytesView(bytes(size)), made(SOURCE))


def test_patch_without_the_digest_of_its_result_is_not_written() -> None:
    with pytest.raises(MalformedError, match="not known yet"):
        Patch(SHA256, 10, "", 10, ()).encode()


WIRE = made(SOURCE, Splice(1, 2, b"abc"), Splice(10, 0, b"end")).encode()


def header_of(wire: bytes) -> dict[str, object]:
    start = len(MAGIC) + 4
    length = int.from_bytes(wire[len(MAGIC) : start], "big")
    found = json.loads(wire[start : start + length])
    assert isinstance(found, dict)
    return found


def written(header: object, body: bytes = b"abcend", *, compact: bool = True) -> bytes:
    text = json.dumps(header, separators=(",", ":") if compact else None).encode()
    return MAGIC + len(text).to_bytes(4, "big") + text + body


def refusal(wire: bytes) -> str:
    with pytest.raises(MalformedError) as refused:
        Patch.decode(wire)
    assert refused.value.code == "bad-patch"
    return refused.value.message


def test_header_and_body_are_put_together_as_they_were() -> None:
    assert written(header_of(WIRE)) == WIRE


def test_every_truncation_and_every_byte_more_is_refused() -> None:
    for end in range(len(WIRE)):
        refusal(WIRE[:end])
    assert "one written form" in refusal(WIRE + b"x")


def test_every_flipped_bit_is_refused_or_another_patch() -> None:
    for at in range(len(WIRE)):
        for bit in range(8):
            flipped = WIRE[:at] + bytes([WIRE[at] ^ 1 << bit]) + WIRE[at + 1 :]
            with suppress(MalformedError):
                assert Patch.decode(flipped).encode() == flipped


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"splices": {}}, "too many"),
        ({"splices": [[1, 2, 3], [10, 0, 4]]}, "out of range"),
        ({"splices": [[True, 2, 3], [10, 0, 3]]}, "out of range"),
        ({"splices": [[1.0, 2, 3], [10, 0, 3]]}, "out of range"),
        ({"splices": [[1, -2, 3], [10, 0, 3]]}, "out of range"),
        ({"splices": [[1, 2, -3], [10, 0, 3]]}, "out of range"),
        ({"splices": [["1", 2, 3], [10, 0, 3]]}, "out of range"),
        ({"splices": [[1, 2], [10, 0, 3]]}, "does not parse"),
        ({"splices": [1]}, "does not parse"),
        ({"source": {"sha256": SHA256, "size": True}}, "wrong type"),
        ({"source": {"sha256": SHA256, "size": "10"}}, "wrong type"),
        ({"source": {"sha256": 7, "size": 10}}, "wrong type"),
        ({"result": {"sha256": None, "size": 14}}, "wrong type"),
        ({"result": {"sha256": "", "size": 14}}, "not known yet"),
        ({"result": {"size": 14}}, "does not parse"),
        ({"result": []}, "does not parse"),
        ({"more": 1}, "one written form"),
    ],
    ids=str,
)
def test_header_that_is_wrong_in_one_thing_is_refused(changes: dict[str, object], why: str) -> None:
    assert why in refusal(written({**header_of(WIRE), **changes}))


def test_other_spellings_of_the_same_patch_are_refused() -> None:
    assert "one written form" in refusal(written(header_of(WIRE), compact=False))
    reordered = dict(reversed(header_of(WIRE).items()))
    assert "one written form" in refusal(written(reordered))


def test_header_that_is_too_long_or_no_json_is_refused() -> None:
    long = MAGIC + (patches.MAX_HEADER + 1).to_bytes(4, "big") + bytes(patches.MAX_HEADER + 1)
    assert "header longer" in refusal(long)
    assert "header longer" in refusal(MAGIC + (100).to_bytes(4, "big") + b"{}")
    for text in (b"", b"[", b"[]", b"1", b"null", b"[" * 200_000, b"\xff"):
        assert "does not parse" in refusal(MAGIC + len(text).to_bytes(4, "big") + text)
    assert "not a patch" in refusal(MAGIC + b"\x00\x00")
    assert "not a patch" in refusal(b"signwright-patch/2\n" + WIRE[len(MAGIC) :])


def test_number_of_replacements_has_an_end() -> None:
    header = header_of(made(SOURCE).encode())
    rows = [[0, 0, 0]] * patches.MAX_SPLICES
    assert len(Patch.decode(written({**header, "splices": rows}, b"")).splices) == patches.MAX_SPLICES
    assert "too many" in refusal(written({**header, "splices": [*rows, [0, 0, 0]]}, b""))
