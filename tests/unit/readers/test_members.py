# SPDX-License-Identifier: Apache-2.0
"""The reader of zips whose members are signed: what it opens, what it finds, and what its strip digest covers."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.members_reader import one_input
from signwright.errors import FormatError
from signwright.model.view import BytesView
from signwright.readers import members
from signwright.readers.base import Reading
from signwright.readers.members import MAX_DEPTH, MAX_WARNINGS, ZipReader
from signwright.readers.registry import READERS, recognize
from tests.support.member_zips import NAMES, Part, build, sample
from tests.support.zip_builder import SHAPES

READER = READERS["zip"]
KINDS = sorted(NAMES)
TEXT = Part("readme.txt", b"hello " * 40)
FOLDER = Part("bin/", deflate=False, external=0o755 << 16 | 16)
PROGRAM = Part("bin/tool.exe", sample("pe"))
SIGNED = PROGRAM.but(content=sample("pe", signed=True))
SCRIPT = Part("run.ps1", sample("powershell"), deflate=False)
BEFORE = (TEXT, FOLDER, PROGRAM, SCRIPT)
AFTER = (TEXT, FOLDER, SIGNED, SCRIPT)


def read(content: bytes) -> Reading:
    return READER.read(BytesView(content))


def stripped(*parts: Part, **how: object) -> str:
    return read(build(parts, **how)).stripped_sha256  # type: ignore[arg-type]


def refusal(content: bytes) -> str:
    with pytest.raises(FormatError) as refused:
        read(content)
    return refused.value.code


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_every_reader_of_signatures_inside_a_file_reads_members() -> None:
    assert set(NAMES) == set(READERS) - {"cms", "raw", "zip"}


@pytest.mark.parametrize("deflate", [True, False], ids=["deflated", "stored"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_member_of_every_kind_is_found_signed_and_strips_to_what_it_was(kind: str, deflate: bool) -> None:
    part = Part(NAMES[kind], sample(kind), deflate=deflate, time=1, comment=b"kept")
    before = read(build([TEXT, part, FOLDER]))
    assert before.signatures == before.warnings == ()
    after = read(build([TEXT, part.but(content=sample(kind, signed=True)), FOLDER]))
    assert {one.inner_path for one in after.signatures} == {NAMES[kind]}
    assert {one.format for one in after.signatures} == {kind}
    assert after.stripped_sha256 == before.stripped_sha256
    renamed = part.but(name=f"other{NAMES[kind][-5:]}")
    assert stripped(TEXT, renamed, FOLDER) != before.stripped_sha256


def test_signatures_are_those_of_the_members_own_readers_in_the_order_of_the_directory() -> None:
    parts = [Part(NAMES[kind], sample(kind, signed=True)) for kind in KINDS]
    found = read(build(parts, order=range(len(parts) - 1, -1, -1))).signatures
    alone = [READERS[kind].read(BytesView(sample(kind, signed=True))).signatures[0] for kind in KINDS]
    assert [one.inner_path for one in found] == [NAMES[kind] for kind in KINDS]
    assert [one.envelope for one in found] == [one.envelope for one in alone]
    assert [one.content_digest for one in found] == [one.content_digest for one in alone]


def test_an_archive_without_signatures_reads_as_such() -> None:
    for shape in SHAPES.values():
        reading = read(shape.build())
        assert (reading.format, reading.signatures, reading.warnings) == ("zip", (), ())


def test_a_signature_of_somebody_else_that_is_kept_is_found_beside_ours() -> None:
    vendor = Part("redist/vendor.exe", sample("pe", signed=True, by="p384"))
    before, after = read(build([vendor, PROGRAM])), read(build([vendor, SIGNED]))
    assert [one.inner_path for one in before.signatures] == ["redist/vendor.exe"]
    assert [one.inner_path for one in after.signatures] == ["redist/vendor.exe", "bin/tool.exe"]
    assert before.signatures[0] == after.signatures[0]
    assert before.stripped_sha256 == after.stripped_sha256


#: What may differ between an archive and the same with its program signed.
SAME: dict[str, Callable[[], str]] = {
    "signed": lambda: stripped(*AFTER),
    "packed harder": lambda: stripped(TEXT, FOLDER, SIGNED.but(level=1), SCRIPT),
    "hints of packing": lambda: stripped(TEXT, FOLDER, SIGNED.but(flags=1 << 11 | 6), SCRIPT),
    "descriptor": lambda: stripped(TEXT, FOLDER, SIGNED.but(described=True), SCRIPT),
    "place in the file": lambda: stripped(*AFTER, order=(3, 2, 0, 1)),
    "64-bit offset": lambda: stripped(*AFTER[:3], SCRIPT.but(extra=struct.pack("<2HQ", 1, 8, 0))),
    "64-bit sizes": lambda: stripped(
        *AFTER[:3], SCRIPT.but(local_extra=struct.pack("<2H2Q", 1, 16, len(SCRIPT.content), len(SCRIPT.content)))
    ),
}


@pytest.mark.parametrize("what", SAME)
def test_what_signing_may_change_does_not_count(what: str) -> None:
    assert SAME[what]() == stripped(*BEFORE)


def _extra(kind: int) -> bytes:
    return struct.pack("<2H4s", kind, 4, b"some")


def _changed(**changes: object) -> Callable[[], str]:
    return lambda: stripped(TEXT, FOLDER, SIGNED.but(**changes), SCRIPT)


def _changed_text(**changes: object) -> Callable[[], str]:
    return lambda: stripped(TEXT.but(**changes), FOLDER, SIGNED, SCRIPT)


#: What an unpacker may act on.
OTHER: dict[str, Callable[[], str]] = {
    "added": lambda: stripped(*AFTER, TEXT.but(name="more")),
    "removed": lambda: stripped(*AFTER[1:]),
    "order": lambda: stripped(TEXT, SIGNED, FOLDER, SCRIPT),
    "comment of the archive": lambda: stripped(*AFTER, comment=b"new"),
    "prefix": lambda: stripped(*AFTER, prefix=b"#!/bin/sh\n"),
    "gap": lambda: stripped(TEXT.but(gap=b"hidden"), *AFTER[1:]),
    "gap before the directory": lambda: stripped(*AFTER[:3], SCRIPT.but(gap=b"\0")),
    "name": _changed(name="bin/evil.exe"),
    "letters of the name": _changed(name="bin/Tool.exe"),
    "encoding of the name": _changed(flags=0),
    "content that is signed": lambda: stripped(TEXT, FOLDER, SIGNED.but(content=_other_program()), SCRIPT),
    "content of another kind": _changed(content=sample("cab", signed=True)),
    "packing": _changed(deflate=False),
    "made by": _changed(made_by=0x0A14),
    "time": _changed(time=0x58432086),
    "time in the file": _changed(local_time=0x58432086),
    "internal attributes": _changed(internal=1),
    "external attributes": _changed(external=0o755 << 16),
    "extra field": _changed(extra=_extra(0x7075)),
    "extra field in the file": _changed(local_extra=_extra(0x7075)),
    "end of the extra fields": _changed(extra=b"\1\0"),
    "comment of a member": _changed(comment=b"new"),
    "opaque content": _changed_text(content=b"hello " * 39 + b"hellO "),
    "opaque content, same size and checksum": _changed_text(packed=zlib.compress(TEXT.content, 0)[2:-4]),
    "opaque checksum": _changed_text(crc=1),
    "opaque flags": _changed_text(flags=1 << 11 | 2),
    "opaque flags in the file": _changed_text(local_flags=1 << 11 | 2),
    "opaque time": _changed_text(time=0),
    "opaque attributes": _changed_text(external=0o4755 << 16),
    "encrypted": _changed_text(flags=1 << 11 | 1),
}


def _other_program() -> bytes:
    content = bytearray(sample("pe"))
    content[-1] ^= 1
    return bytes(content)


@pytest.mark.parametrize("what", OTHER)
def test_all_that_an_unpacker_may_act_on_counts(what: str) -> None:
    assert OTHER[what]() != stripped(*BEFORE)


def test_a_prefix_that_offsets_count_is_not_one_that_they_do_not_count() -> None:
    assert stripped(*AFTER, prefix=b"stub") != stripped(*AFTER, prefix=b"stub", counted=False)
    assert stripped(*AFTER, prefix=b"stub", counted=False) == stripped(*BEFORE, prefix=b"stub", counted=False)


def test_gaps_count_where_the_members_are_moved_as_well() -> None:
    gaps = (TEXT.but(gap=b"one"), FOLDER, PROGRAM.but(gap=b"two"), SCRIPT)
    assert stripped(*gaps) == stripped(*gaps[:2], SIGNED.but(gap=b"two"), SCRIPT)
    assert stripped(*gaps) != stripped(TEXT.but(gap=b"onet"), FOLDER, SIGNED.but(gap=b"wo"), SCRIPT)


@pytest.mark.parametrize("deflate", [True, False], ids=["deflated", "stored"])
def test_a_broken_signature_makes_a_member_opaque_and_is_told(deflate: bool) -> None:
    broken = SIGNED.but(content=flipped(SIGNED.content, 600), deflate=deflate)
    reading = read(build([broken, SCRIPT]))
    (warning,) = reading.warnings
    assert reading.signatures == ()
    assert warning.startswith("bin/tool.exe: its signature was not counted: ")
    assert "its digest differs" in warning
    for at in (600, 601, len(SIGNED.content) - 1):
        assert stripped(broken.but(content=flipped(broken.content, at)), SCRIPT) != reading.stripped_sha256


def test_a_member_that_does_not_read_is_opaque_and_is_told() -> None:
    reading = read(build([Part("lib/a.jar", sample("jar")[:-3])]))
    assert reading.stripped_sha256 != stripped(Part("lib/a.jar", sample("jar")))
    assert reading.warnings[0].startswith("lib/a.jar: not opened: zip: ")


def test_a_wrong_checksum_or_size_makes_a_member_opaque() -> None:
    short = zlib.compress(SIGNED.content[:-1])[2:-4]
    for part in (SIGNED.but(crc=1), SIGNED.but(crc=1, deflate=False), SIGNED.but(packed=short)):
        reading = read(build([part]))
        assert reading.signatures == ()
        assert reading.warnings[0].startswith("bin/tool.exe: not opened: zip: a ")


OPAQUE = {
    "by another name": Part("tool.ps1.txt", sample("powershell", signed=True)),
    "by a name without a dot": Part("ps1", sample("powershell", signed=True)),
    "in a folder named so": Part("a.ps1/run", sample("powershell", signed=True)),
    "folder with content": SIGNED.but(name="tool.exe/"),
    "encrypted": SIGNED.but(flags=1 << 11 | 1),
    "packed otherwise": SIGNED.but(method=93),
    "no program": SIGNED.but(content=b"MZ is how a text may begin"),
    "no installer": Part("a.doc", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600)),
    "archive in a file not named so": Part("inner", build([SIGNED])),
    "text in a file named like an archive": Part("inner.zip", b"text"),
    "does not unpack": Part("data", packed=b"\xff\xff"),
    "no bytes": Part("empty.js", b""),
}


@pytest.mark.parametrize("what", OPAQUE)
def test_all_else_is_opaque_and_no_warning(what: str) -> None:
    reading = read(build([OPAQUE[what]]))
    assert reading.signatures == reading.warnings == ()
    assert reading.stripped_sha256 != stripped(OPAQUE[what].but(time=0))


def test_a_program_is_one_by_its_first_bytes_whatever_its_name() -> None:
    for name in ("tool", "tool.bin", "archive.zip", "tool.TXT"):
        assert [one.inner_path for one in read(build([SIGNED.but(name=name)])).signatures] == [name]


def test_names_in_the_old_encoding_are_read() -> None:
    (found,) = read(build([SIGNED.but(flags=0, raw_name=b"m\x81ll.exe")])).signatures
    assert found.inner_path == "müll.exe"


def test_a_nested_archive_is_read_like_the_outer_one() -> None:
    inner, signed = build(BEFORE, comment=b"inner"), build(AFTER, comment=b"inner")
    before, after = read(build([TEXT, Part("a/inner.ZIP", inner)])), read(build([TEXT, Part("a/inner.ZIP", signed)]))
    assert before.signatures == ()
    assert [one.inner_path for one in after.signatures] == ["a/inner.ZIP/bin/tool.exe"]
    assert before.stripped_sha256 == after.stripped_sha256
    for other in (build(AFTER, comment=b"other"), build(AFTER[1:], comment=b"inner")):
        assert stripped(TEXT, Part("a/inner.ZIP", other)) != before.stripped_sha256


def test_a_broken_nested_archive_is_opaque_with_a_warning() -> None:
    twice = read(build([Part("inner.zip", build([SIGNED, SIGNED])), SIGNED]))
    assert [one.inner_path for one in twice.signatures] == ["bin/tool.exe"]
    assert twice.warnings[0].startswith("inner.zip: not opened: zip: two members 'bin/tool.exe'")


def kept(*parts: Part, signed: Sequence[str] = (PROGRAM.name,), **how: object) -> str:
    reading = ZipReader(READERS.values()).read_members(BytesView(build(parts, **how)), signed)  # type: ignore[arg-type]
    return str(reading.kept_sha256)


def test_members_that_are_kept_are_the_same_whatever_happens_to_others_and_wherever_they_stand() -> None:
    before = kept(*BEFORE)
    assert kept(*AFTER) == kept(TEXT, FOLDER, SIGNED.but(described=True), SCRIPT) == before
    assert kept(*AFTER, order=(3, 2, 0, 1)) == before
    assert kept(*AFTER, signed=()) != kept(*BEFORE, signed=())


@pytest.mark.parametrize(
    "change",
    [
        {"level": 1},
        {"flags": 1 << 11 | 2, "local_flags": 1 << 11 | 2},
        {"described": True},
        {"deflate": False},
        {"content": flipped(SIGNED.content, 64 + 88)},
        {"content": sample("pe")},
    ],
    ids=["packing", "hints", "descriptor", "stored", "checksum of a program", "unsigned"],
)
def test_every_byte_of_a_member_that_is_kept_counts_also_where_its_signature_covers_it_not(
    change: dict[str, object],
) -> None:
    vendor = SIGNED.but(name="vendor.dll")
    inner = Part("in.zip", build([PROGRAM, vendor]))
    changed = Part("in.zip", build([SIGNED, vendor.but(**change)]))
    assert kept(PROGRAM, vendor) != kept(SIGNED, vendor.but(**change))
    path = f"in.zip/{PROGRAM.name}"
    assert kept(inner, signed=[path]) == kept(Part("in.zip", build([SIGNED, vendor])), signed=[path])
    assert kept(inner, signed=[path]) != kept(changed, signed=[path])
    assert kept(inner, signed=["in.zip!"]) != kept(Part("in.zip", build([SIGNED, vendor])), signed=["in.zip!"])


def nested(depth: int, *, deflate: bool = False) -> bytes:
    content = build([SIGNED])
    for _ in range(depth):
        content = build([Part("a.zip", content, deflate=deflate)])
    return content


def test_archives_are_nested_so_deep_and_no_deeper() -> None:
    (found,) = read(nested(MAX_DEPTH)).signatures
    assert found.inner_path == "a.zip/" * MAX_DEPTH + "bin/tool.exe"
    assert refusal(nested(MAX_DEPTH + 1)) == "archive-depth"
    assert refusal(build([TEXT, Part("b.zip", nested(MAX_DEPTH))])) == "archive-depth"


NAMED = {
    "twice": ([TEXT, TEXT], "name-twice"),
    "twice in two encodings": (
        [TEXT.but(name="ü"), TEXT.but(name="u", raw_name=b"\x81", flags=0)],
        "name-twice",
    ),
    "twice but for the flag": ([TEXT.but(name="ü"), TEXT.but(name="ü", flags=0)], "name-twice"),
    "archive and folder": ([Part("a.zip", build([SIGNED])), SIGNED.but(name="a.zip/bin/tool.exe")], "name-twice"),
    "empty": ([TEXT.but(name="")], "name"),
    "control character": ([TEXT.but(name="a\x1b[2J")], "name"),
    "late control character": ([TEXT.but(name="a\x9b2J")], "name"),
    "not its encoding": ([TEXT.but(raw_name=b"\xff")], "name-encoding"),
    "reordered, of a signed member": ([SIGNED.but(name="a\u202eexe.txt")], "name"),
    "too long, of a signed member": ([SIGNED.but(name="a/" * 600 + "tool.exe")], "name"),
}


@pytest.mark.parametrize("what", NAMED)
def test_names_that_are_ambiguous_or_cannot_be_shown_are_refused(what: str) -> None:
    parts, code = NAMED[what]
    assert refusal(build(parts)) == code


def test_a_name_that_is_odd_is_no_matter_where_nothing_is_signed() -> None:
    assert read(build([TEXT.but(name="a\u202etxt"), TEXT.but(name="b/" * 600)])).signatures == ()


WIDE = {
    "sizes": struct.pack("<2H2Q", 1, 16, 1, 1),
    "more": struct.pack("<2H4Q", 1, 32, 0, 0, 0, 0),
    "disk": struct.pack("<2HL", 1, 4, 1),
    "half": struct.pack("<2H2s", 1, 2, b"no"),
    "cut": struct.pack("<2H", 1, 8),
    "twice": struct.pack("<2HQ2HQ", 1, 8, 0, 1, 8, 0),
}


@pytest.mark.parametrize("what", WIDE)
def test_a_64_bit_field_that_only_some_look_at_says_nothing_else(what: str) -> None:
    assert refusal(build([TEXT.but(extra=WIDE[what])])) == "zip64"
    assert refusal(build([TEXT.but(local_extra=WIDE[what])])) == "zip64"


def test_there_are_so_many_warnings_and_a_line_for_the_others() -> None:
    parts = [Part(f"{number}\u202e.cat", b"0" * 9) for number in range(MAX_WARNINGS + 5)]
    inner = Part("inner.zip", build(parts))
    for content, more in ((build(parts), 5), (build([*parts, inner]), MAX_WARNINGS + 10)):
        warnings = read(content).warnings
        assert len(warnings) == MAX_WARNINGS + 1
        assert warnings[-1] == f"{more} more warnings of this kind"
        assert all(text.isprintable() and len(text) <= 500 for text in warnings)


def test_a_warning_is_short_however_long_the_name_is() -> None:
    (warning,) = read(build([Part("\u202e" * 900 + ".cat", b"0" * 9)])).warnings
    assert len(warning) <= 500
    assert warning.isprintable()


def test_what_unpacks_to_more_than_is_read_is_told_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    big = PROGRAM.but(content=SIGNED.content + bytes(1 << 20))
    monkeypatch.setattr(members, "MAX_UNPACKED", 1 << 20)
    reading = read(build([big, TEXT]))
    assert reading.warnings == (f"bin/tool.exe: not opened, it unpacks to {len(big.content)} bytes",)
    assert read(build([SIGNED.but(deflate=False)])).signatures
    monkeypatch.setattr(members, "MAX_UNPACKED", 64 << 20)
    monkeypatch.setattr(members, "_RATIO_FLOOR", 1 << 20)
    assert refusal(build([big, TEXT])) == "archive-ratio"
    assert refusal(build([Part("inner.zip", build([big]), deflate=False)])) == "archive-ratio"
    jar = Part("a.jar", build([Part("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\r\n\r\n"), big]), deflate=False)
    assert refusal(build([jar])) == "archive-ratio"


def test_scripts_may_unpack_to_less() -> None:
    script = Part("a.js", b"\r\n" * (5 << 20))
    assert refusal(build([script])) == "archive-ratio"
    assert read(build([script.but(name="a.txt")])).signatures == ()


def test_there_are_so_many_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_SIGNATURES", 2)
    parts = [SIGNED.but(name=f"{number}.exe") for number in range(3)]
    assert len(read(build(parts[:2])).signatures) == 2
    assert refusal(build(parts)) == "too-large"
    assert refusal(build([parts[0], Part("inner.zip", build(parts[1:]))])) == "too-large"


class _Counting(BytesView):
    """Counts what is read."""

    reads = read_bytes = 0

    def read(self, offset: int, length: int) -> bytes:
        self.reads, self.read_bytes = self.reads + 1, self.read_bytes + length
        return super().read(offset, length)


@pytest.mark.parametrize("count", [100, 2000])
def test_work_is_in_proportion_to_the_number_of_members(count: int) -> None:
    view = _Counting(build([Part(f"folder/{number}.txt", b"text %d" % number) for number in range(count)]))
    assert READER.read(view).signatures == ()
    assert view.reads <= 8 * count + 20
    assert view.read_bytes <= 4 * view.size + (1 << 17)


def test_packed_bytes_of_opaque_members_are_read_once_but_for_their_heads() -> None:
    part = Part("data", bytes(range(256)) * (1 << 14), deflate=False)
    view = _Counting(build([part, part.but(name="more", deflate=True, level=0)]))
    READER.read(view)
    assert view.read_bytes <= view.size + (1 << 18)


def test_zips_are_recognized_but_for_those_that_are_signed_themselves() -> None:
    for content in (build(BEFORE), build(AFTER), build([])):
        found = recognize(BytesView(content))
        assert found is not None
        assert found.name == "zip"
    for kind in ("jar", "nuget", "msix"):
        assert not READER.recognizes(BytesView(sample(kind)))
    for content in (b"", b"PK\3\4", build(AFTER, prefix=b"#!/bin/sh\n"), build(AFTER)[:-1], sample("pe")):
        assert not READER.recognizes(BytesView(content))


def test_a_zip_has_no_content_beside_it() -> None:
    with pytest.raises(FormatError):
        READER.read(BytesView(build(AFTER)), BytesView(b""))


def test_kinds_that_are_not_read_are_opaque() -> None:
    reader = ZipReader([READERS["cab"]])
    assert reader.read(BytesView(build(AFTER))).signatures == ()


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from(KINDS), min_size=1), st.sets(st.sampled_from(KINDS)), st.booleans(), st.data())
def test_any_members_signed_strip_to_the_archive_as_it_was(
    there: set[str], signed: set[str], deflate: bool, data: st.DataObject
) -> None:
    parts = [Part(NAMES[kind], sample(kind), deflate=deflate) for kind in data.draw(st.permutations(sorted(there)))]
    after = [
        part.but(content=sample(kind, signed=True), described=data.draw(st.booleans()))
        for part in parts
        for kind in NAMES
        if NAMES[kind] == part.name and kind in signed
    ]
    by_name = {part.name: part for part in after}
    order = data.draw(st.permutations(range(len(parts))))
    before, done = read(build(parts)), read(build([by_name.get(p.name, p) for p in parts], order=order))
    assert done.stripped_sha256 == before.stripped_sha256
    assert {one.inner_path for one in done.signatures} == set(by_name)


PLAIN = build([TEXT, FOLDER, Part("bin/data", b"data", deflate=False)], comment=b"comment", prefix=b"prefix")


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(PLAIN) - 1), st.integers(1, 255))
def test_every_byte_of_an_archive_without_signatures_counts_or_is_none_of_the_content(at: int, mask: int) -> None:
    """But for the versions needed to unpack, in four places, and the mark of hidden 64-bit structures."""
    changed = PLAIN[:at] + bytes([PLAIN[at] ^ mask]) + PLAIN[at + 1 :]
    heads = [i for i in range(len(PLAIN)) if PLAIN.startswith((b"PK\3\4", b"PK\1\2"), i)]
    needed = {i + (4 if PLAIN.startswith(b"PK\3\4", i) else 6) + n for i in heads for n in (0, 1)}
    try:
        found = read(changed).stripped_sha256
    except FormatError:
        return
    assert (found == read(PLAIN).stripped_sha256) == (at in needed)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_junk_never_gives_another_error(data: st.DataObject) -> None:
    content = build(AFTER)
    at, junk = data.draw(st.integers(0, len(content))), data.draw(st.binary(max_size=8))
    try:
        one_input(content[:at] + junk + content[at + len(junk) :])
    except FormatError:
        pass
