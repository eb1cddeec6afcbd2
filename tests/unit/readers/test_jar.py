# SPDX-License-Identifier: Apache-2.0
"""The JAR reader: what holds, what does not, and which bytes no signature covers."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.envelopes.templates import template_named
from signwright.errors import FormatError, VerificationError
from signwright.formats.cms import CmsFormat
from signwright.formats.jar import JarFormat
from signwright.formats.jar_manifest import read_sections
from signwright.model.digest import Digest
from signwright.model.operation import Operation
from signwright.model.view import BytesView
from signwright.readers import cms, manifest
from signwright.readers import zip as archives
from signwright.readers.base import Reading, Stripper
from signwright.readers.detached import CmsReader
from signwright.readers.jar import JarReader
from tests.support.jar_builder import (
    FILES,
    MANIFEST,
    PLAIN,
    SECTIONS,
    SHAPES,
    encoded,
    jar,
    removed,
    rsa,
    sign,
    signed_jar,
    small_jar,
)
from tests.support.jar_vectors import BROKEN, FOLDER
from tests.support.signed_files import envelope_of, identity
from tests.support.zip_builder import Zip, unpacked

NAME = "EXAMPLE_"
SF, BLOCK = f"META-INF/{NAME}.SF", f"META-INF/{NAME}.RSA"


def read(content: bytes) -> Reading:
    return JarReader().read(BytesView(content))


def stripped(content: bytes) -> str:
    return JarReader().stripped(BytesView(content))


def refused(content: bytes) -> str:
    with pytest.raises((VerificationError, FormatError)) as refusal:
        read(content)
    return refusal.value.code


def changed(content: bytes, **members: bytes | None) -> bytes:
    """Packed anew with other contents, or without a member; keys: ``manifest``, ``sf``, ``block`` or a suffix."""
    names = {"manifest": MANIFEST, "sf": SF, "block": BLOCK}
    by_name = {names.get(key, key): value for key, value in members.items()}
    rows = [(name, by_name.get(name, was)) for name, was in unpacked(content)]
    return Zip(members=tuple((name, value) for name, value in rows if value is not None)).build()


def member(content: bytes, name: str) -> bytes:
    return dict(unpacked(content))[name]


@pytest.mark.parametrize(
    ("name", "signers"),
    [
        ("signed", [NAME]),
        ("signed-sha512", [NAME]),
        ("signed-twice", [NAME, "SECOND"]),
        ("signed-by-jarsigner", ["OTHER"]),
        ("signed-beside-jarsigner", [NAME, "OTHER"]),
    ],
)
def test_a_stored_signature_still_holds(name: str, signers: list[str]) -> None:
    reading = read((FOLDER / "good" / f"{name}.bin").read_bytes())
    assert sorted(found.notes["signer"] for found in reading.signatures) == signers
    assert reading.warnings == ()
    assert {(found.purpose, found.family, found.notes["entries"]) for found in reading.signatures} == {
        ("jar", "cms", "2")
    }


def test_the_reader_offers_the_strip_digest_alone() -> None:
    assert isinstance(JarReader(), Stripper)
    assert stripped(signed_jar()) == read(small_jar()).stripped_sha256


@pytest.mark.parametrize("defect", BROKEN)
def test_no_signature_is_ever_found_in_a_broken_file(defect: str) -> None:
    try:
        assert read(BROKEN[defect][0]).signatures == ()
    except (FormatError, VerificationError):
        pass


@pytest.mark.parametrize("shape", ["plain", "no-manifest", "war"])
def test_an_unsigned_file_is_read_without_signatures(shape: str) -> None:
    reading = read(SHAPES[shape].build())
    assert (reading.signatures, reading.warnings) == ((), ())


def test_only_files_with_a_manifest_are_recognised() -> None:
    recognizes = JarReader().recognizes
    assert recognizes(BytesView(signed_jar()))
    apk = Zip(members=((MANIFEST, PLAIN), ("AndroidManifest.xml", b"x"))).build()
    for content in (b"", b"PK", SHAPES["no-manifest"].build(), apk):
        assert not recognizes(BytesView(content))


def test_content_beside_a_jar_is_refused() -> None:
    with pytest.raises(FormatError):
        JarReader().read(BytesView(signed_jar()), BytesView(b""))


def _replaced(text: bytes, old: bytes, new: bytes) -> bytes:
    assert old in text
    return text.replace(old, new)


def test_a_changed_file_or_manifest_is_noticed() -> None:
    once = signed_jar()
    text = member(once, MANIFEST)
    assert refused(changed(once, **{"com/example/Main.class": b"other"})) == "digest-mismatch"
    other = _replaced(text, b"com.example.Main", b"com.example.Evil")
    assert refused(changed(once, manifest=other)) == "digest-mismatch"
    assert refused(changed(once, manifest=text + b"Name: com/example/\r\nSealed: false\r\n\r\n")) == "unsigned-entries"
    assert refused(changed(once, manifest=None)) == "incomplete-signature"
    assert refused(changed(once, **{"com/example/Main.class": None})) == "missing-entries"
    assert refused(changed(once, sf=member(once, SF) + b"\r\n")) == "digest-mismatch"


def test_a_file_that_no_signature_covers_is_refused() -> None:
    once = signed_jar()
    grown = Zip(members=(*unpacked(once), ("later.txt", b"x"))).build()
    assert refused(grown) == "unsigned-entries"
    listed = Zip(members=((MANIFEST, PLAIN + _digest_of(b"later.txt", b"x")), *FILES, ("later.txt", b"x"))).build()
    text = member(sign(listed), MANIFEST)
    smuggled = changed(grown, manifest=text)
    assert refused(smuggled) == "unsigned-entries"


def _digest_of(name: bytes, content: bytes) -> bytes:
    del content
    return b"Name: " + name + b"\r\nContent-Type: text/plain\r\n\r\n"


@pytest.mark.parametrize(
    "extra", ["META-INF/OTHER.SF", "META-INF/OTHER.RSA", "META-INF/other.ec", "META-INF/SIG-X", f"META-INF/{NAME}.EC"]
)
def test_a_member_that_belongs_to_no_signature_is_refused_beside_one(extra: str) -> None:
    grown = Zip(members=(*unpacked(signed_jar()), (extra, b"x"))).build()
    assert refused(grown) == "incomplete-signature"
    alone = Zip(members=(*unpacked(small_jar()), (extra, b"x"))).build()
    assert "belongs to no signature" in read(alone).warnings[0]
    assert stripped(alone) == stripped(small_jar())


def _resigned(sf: bytes, signer: str = "rsa2048") -> bytes:
    """The signed JAR with another signature file, for which a key was found."""

    operation = Operation(template="jar", digest=str(Digest.of(sf)))
    return changed(signed_jar(), sf=sf, block=_unchecked(operation, sf, signer))


def _unchecked(operation: Operation, content: bytes, signer: str) -> bytes:
    """Not through `check_seen`: a key of somebody who does not look."""

    template, who = template_named("jar"), identity(signer)
    value = who.sign(template.to_be_signed(operation, who.context()))
    return template.envelope(operation, who.context(), value, None, content)


def _without(text: bytes, pattern: bytes) -> bytes:
    found, count = re.subn(pattern, b"", text, flags=re.DOTALL)
    assert count
    return found


def test_a_signature_file_must_speak_for_everything() -> None:
    sf = member(signed_jar(), SF)
    assert read(_resigned(sf)).signatures
    whole, main = (
        rb"SHA-256-Digest-Manifest: [^\r]*\r\n",
        rb"SHA-256-Digest-Manifest-Main[^:]*: [^\r]*\r\n( [^\r]*\r\n)*",
    )
    assert read(_resigned(_without(sf, main))).signatures
    assert read(_resigned(_without(sf, whole))).signatures
    assert refused(_resigned(_without(_without(sf, main), whole))) == "weak-digest"
    assert refused(_resigned(_without(sf, rb"Name: com/example/Main.class\r\n[^\r]*\r\n\r\n"))) == "unsigned-entries"
    assert refused(_resigned(_replaced(sf, b"Signature-Version: 1.0", b"Signature-Version: 2.0"))) == "wrong-kind"
    assert refused(_resigned(_replaced(sf, b"SHA-256-Digest", b"SHA1-Digest"))) == "weak-digest"
    assert refused(_resigned(sf + b"Name: gone\r\nSHA-256-Digest: " + b"A" * 43 + b"=\r\n\r\n")) == "missing-entries"
    section = rb"(Name: com/example/Main.class\r\nSHA-256-Digest: )[^\r]*"
    other = re.sub(section, rb"\g<1>" + b"A" * 43 + b"=", sf)
    assert refused(_resigned(other)) == "digest-mismatch"
    nothing = _replaced(
        sf, b"Name: com/example/Main.class\r\nSHA-256-Digest", b"Name: com/example/Main.class\r\nSHA1-Digest"
    )
    assert refused(_resigned(nothing)) == "weak-digest"


def test_sections_hold_where_the_whole_manifest_does_not() -> None:
    """As after a second signer, who added sections behind the first one's."""
    once = sign(jar(manifest=SECTIONS).build())
    grown = changed(once, manifest=member(once, MANIFEST) + b"\r\n")
    assert [found.notes["signer"] for found in read(grown).signatures] == [NAME]
    more = changed(once, manifest=member(once, MANIFEST) + b"Name: more\r\nContent-Type: x\r\n\r\n")
    assert refused(more) == "unsigned-entries"
    text = member(once, MANIFEST)
    for old, new in ((b"com.example.Main", b"com.example.Evil"), (b"Java-Bean: True", b"Java-Bean: Fals")):
        assert refused(changed(once, manifest=_replaced(text, old, new) + b"\r\n")) == "digest-mismatch"


def test_another_kind_of_cms_is_no_signature_of_a_jar() -> None:

    sf = member(signed_jar(), SF)
    operation = Operation(template="authenticode-pe", digest=str(Digest.of(sf)))
    envelope = envelope_of(operation, rsa())
    assert template_named("authenticode-pe").family == "cms"
    assert refused(changed(signed_jar(), block=envelope)) == "wrong-kind"
    for junk in (b"", b"junk", member(signed_jar(), BLOCK) + b"\0"):
        assert refused(changed(signed_jar(), block=junk))


def test_bytes_before_the_archive_are_named_and_part_of_the_strip_test() -> None:
    for shape in ("prefix", "prefix-not-counted"):
        source = SHAPES[shape].build()
        assert read(sign(source)).warnings == (
            f"{len(SHAPES[shape].prefix)} bytes before the archive, which no signature in it covers",
        )
    other = SHAPES["prefix"].but(prefix=b"#!/bin/sh\nexec java -jar $1\n").build()
    assert stripped(other) != stripped(SHAPES["prefix"].build())


def test_the_strip_test_sees_every_change_but_that_of_digests() -> None:
    base = jar(manifest=SECTIONS).build()
    members = unpacked(base)
    others = {
        "a member": changed(base, **{"com/example/Main.class": b"other"}),
        "a name": Zip(members=(*members[:-1], ("com/example/text.propertie5", members[-1][1]))).build(),
        "one less": Zip(members=tuple(members[:-1])).build(),
        "one more": Zip(members=(*members, ("more", b""))).build(),
        "a folder more": Zip(members=(*members, ("more/", b""))).build(),
        "the order": Zip(members=(*members[:2], *reversed(members[2:]))).build(),
        "a main attribute": changed(base, manifest=_replaced(SECTIONS, b"com.example.Main", b"com.example.Evil")),
        "a main attribute more": changed(base, manifest=_replaced(SECTIONS, PLAIN, PLAIN[:-2] + b"A: b\r\n\r\n")),
        "a kept section": changed(base, manifest=_replaced(SECTIONS, b"Sealed: true", b"Sealed: fals")),
        "one section less": changed(
            base, manifest=_replaced(SECTIONS, b"Name: com/example/\r\nSealed: true\r\n\r\n", b"")
        ),
        "a section's name": changed(base, manifest=_replaced(SECTIONS, b"com/example/\r", b"com/exampl3/\r")),
        "the comment": Zip(members=tuple(members), comment=b"x").build(),
        "no manifest": changed(base, manifest=None),
    }
    digests = {what: stripped(content) for what, content in others.items()}
    assert len({*digests.values(), stripped(base)}) == len(digests) + 1
    same = {
        "packing": Zip(members=tuple(members), stored=True).build(),
        "a digest": changed(base, manifest=_replaced(SECTIONS, b"SHA1-Digest: AAAA", b"MD5-Digest: BBBB")),
        "line ends": changed(base, manifest=SECTIONS.replace(b"\r\n", b"\n")),
        "signed": sign(base),
        "signed twice": sign(sign(base), identity("p256"), existing="append", signer_name="B"),
        "removed": removed(sign(base)),
    }
    assert {stripped(content) for content in same.values()} == {stripped(base)}


def _unpacks_the_same(packed: bytes) -> Iterator[int]:
    whole = zlib.decompress(packed, wbits=-15)
    for at in range(len(packed)):
        bent = bytearray(packed)
        bent[at] ^= 0x02
        with suppress(zlib.error):
            if zlib.decompress(bytes(bent), wbits=-15) == whole:
                yield at


def _tolerated(content: bytes) -> set[int]:
    """Offsets of bytes of the signed ``content`` that no signature covers: headers of members but for what is compared
    (versions, hints, times, attributes, extra fields), and bits that unpacking does not look at. Those in CMS
    structures, such as other certificates, the packing's checksum notices.
    """
    entries = archives.read_archive(BytesView(content), free=True).entries
    offsets: set[int] = set()
    for entry in entries:
        extra = entry.local + 30 + len(entry.name)
        offsets |= {*range(entry.local + 6, entry.local + 8), *range(entry.record + 8, entry.record + 10)}
        if entry.method:
            offsets |= {entry.data + at for at in _unpacks_the_same(content[entry.data : entry.data + entry.packed])}
        offsets |= {*range(entry.local + 4, entry.local + 6), *range(entry.local + 10, entry.local + 14)}
        offsets |= set(range(extra, entry.data))
        at = entry.record
        offsets |= {*range(at + 4, at + 8), *range(at + 12, at + 16), *range(at + 36, at + 42)}
        offsets |= set(range(at + 46 + len(entry.name), entry.record_end))
    return offsets


def test_every_flipped_byte_is_noticed_except_the_named_ones() -> None:
    content = sign(jar(*FILES[1:], manifest=PLAIN).but(stored=True).build())
    was = read(content)
    tolerated = set()
    for at in range(len(content)):
        bent = bytearray(content)
        bent[at] ^= 0x02
        try:
            reading = read(bytes(bent))
        except (FormatError, VerificationError):
            continue
        if reading.signatures == was.signatures and reading.stripped_sha256 == was.stripped_sha256:
            tolerated.add(at)
        else:
            assert reading.stripped_sha256 != was.stripped_sha256 or not reading.signatures
    assert tolerated <= _tolerated(content)


def test_no_truncation_of_a_signed_file_holds() -> None:
    content = signed_jar()
    for length in range(0, len(content), 7):
        with pytest.raises((FormatError, VerificationError)):
            read(content[:length])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 5000), st.binary(min_size=1, max_size=8))
def test_junk_never_gives_another_error(at: int, junk: bytes) -> None:
    content = signed_jar()
    bent = content[:at] + junk + content[at + len(junk) :]
    try:
        read(bent)
        stripped(bent)
    except (FormatError, VerificationError):
        pass
    JarReader().recognizes(BytesView(bent))


PIECES = st.sampled_from(
    [
        *(b"Name: a", b"Name: b", b"A: b", b"a: c", b" x", b" ", b"\xc3", b"\xa4", b"Magic: x", b"SHA-256-Digest: "),
        *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b"\0", b"Manifest-Version: 1.0"),
    ]
)


@settings(max_examples=500)
@given(st.lists(PIECES, max_size=14))
def test_writer_and_reader_cut_manifests_alike(pieces: list[bytes]) -> None:
    """Two parsers that share nothing: sections, their ranges and their attributes are the same, or both refuse."""
    text = b"Manifest-Version: 1.0\r\n" + b"".join(pieces)
    theirs, ours = _by_the_writer(text), _by_the_reader(text)
    assert theirs == ours or "manifest-twice" in ours


NAMED = st.lists(
    PIECES | st.sampled_from([b"Name: com/example/Main.class", b"Name: com/example/", b"Sealed: true"]), max_size=14
)


@settings(max_examples=300, deadline=None)
@given(NAMED, st.booleans())
def test_whatever_manifest_is_signed_holds_and_passes_the_strip_test(pieces: list[bytes], twice: bool) -> None:
    source = jar(manifest=b"Manifest-Version: 1.0\r\n" + b"".join(pieces)).build()
    try:
        signed = sign(source)
        if twice:
            signed = sign(signed, identity("p256"), existing="append", signer_name="SECOND")
    except FormatError:
        return
    reading = read(signed)
    assert len(reading.signatures) == 1 + twice
    assert reading.stripped_sha256 == stripped(source) == stripped(removed(signed))


def _by_the_writer(text: bytes) -> list[object]:
    try:
        return [(s.name, (s.start, s.end), [h.value for h in s.headers]) for s in read_sections(text)]
    except FormatError:
        return ["refused"]


def _by_the_reader(text: bytes) -> list[object]:
    try:
        found = manifest.read_text(text, "it")
    except FormatError as problem:
        return ["manifest-twice" if problem.code == "manifest-twice" else "refused"]
    rows: list[object] = [("", found.main, list(found.main_attributes().values()))]
    return rows + [(n, place, list(found.attributes(n).values())) for n, place in found.sections.items()]


def test_limits_come_before_what_they_limit() -> None:
    with pytest.raises(FormatError) as refusal:
        manifest.read_text(bytes(manifest.MAX_TEXT + 1), "it")
    assert refusal.value.code == "too-large"
    large = sign(small_jar())
    bomb = Zip(members=(*unpacked(large), ("zeros", bytes(2 << 20)))).build()
    assert refused(bomb) == "archive-ratio"
    signers = [(f"META-INF/{n}.{kind}", b"x") for n in range(17) for kind in ("SF", "RSA")]
    assert refused(Zip(members=(*unpacked(large), *signers)).build()) == "too-large"
    assert cms.MAX_ENVELOPE < 1 << 30


def test_what_unpacks_to_too_much_is_refused_by_writer_and_reader() -> None:
    """Each member may be small, or pack badly enough, and all together be much."""
    zeros = tuple((f"zeros{n}", bytes(1 << 20)) for n in range(17))
    assert stripped(jar(*zeros[:15]).build())
    for source in (jar(*zeros).build(), jar(*FILES, manifest=PLAIN + _sections(20_000, b"x" * 200)).build()):
        assert refused(source) == "archive-ratio"
        with pytest.raises(FormatError) as refusal:
            sign(source)
        assert refusal.value.code == "archive-ratio"


@pytest.mark.parametrize("large", ["sections", "attributes"])
def test_a_manifest_that_takes_long_is_refused_by_writer_and_reader(large: str) -> None:
    if large == "sections":
        text = PLAIN + _sections(4096 + 3 + 8)
    else:
        text = PLAIN[:-2] + b"".join(b"A%d: b\r\n" % n for n in range(4096)) + b"\r\n"
    source = jar(*FILES, manifest=text).build()
    assert refused(source) == "too-large"
    with pytest.raises(FormatError) as refusal:
        sign(source)
    assert refusal.value.code == "too-large"
    few = sign(jar(*FILES, manifest=PLAIN + _sections(4000)).build())
    assert len(read(few).signatures) == 1


def test_the_manifest_is_read_section_by_section_no_more_often_for_more_signers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Signature files that are only of the whole manifest cost nothing for each of its sections."""
    text = PLAIN + _sections(500)
    sf = b"Signature-Version: 1.0\r\nSHA-256-Digest-Manifest: " + encoded(text, "sha256").encode() + b"\r\n\r\n"
    block = _unchecked(Operation(template="jar", digest=str(Digest.of(sf))), sf, "rsa2048")
    counts: list[int] = []
    parse = manifest._attributes
    for signers in (1, 16):
        calls: list[int] = []
        monkeypatch.setattr(manifest, "_attributes", _counting(parse, calls))
        pairs = [(f"META-INF/{n}.{kind}", part) for n in range(signers) for kind, part in (("SF", sf), ("RSA", block))]
        with pytest.raises(VerificationError) as refusal:
            read(jar(*pairs, *FILES, manifest=text).build())
        assert refusal.value.code == "unsigned-entries"
        counts.append(len(calls))
    assert counts[1] - counts[0] < 15 * 5


def _counting(parse: Callable[..., manifest.Attributes], calls: list[int]) -> Callable[..., manifest.Attributes]:
    def counted(*arguments: object) -> manifest.Attributes:
        calls.append(1)
        return parse(*arguments)

    return counted


def _sections(count: int, value: bytes = b"b") -> bytes:
    return b"".join(b"Name: %d\r\nA: %s\r\n\r\n" % (n, value) for n in range(count))


def test_reading_does_not_depend_on_the_writer_s_options() -> None:
    for options in ({"digest": "sha384"}, {"digest": "sha512", "signer_name": "X"}):
        (found,) = read(sign(small_jar(), **options)).signatures
        assert found.content_digest.algorithm == options["digest"]
    assert JarFormat.name == JarReader.name


def test_a_block_cut_out_of_its_jar_is_no_signature_of_a_file() -> None:
    block, text = member(signed_jar(), BLOCK), member(signed_jar(), SF)
    for content in (text, b"\r\n" + text, text.replace(b"Signature-V", b"signature-v", 1)):
        with pytest.raises(VerificationError) as refusal:
            CmsReader().read(BytesView(block), BytesView(content))
        assert refusal.value.code == "wrong-kind"
    with pytest.raises(FormatError) as refused_too:
        CmsFormat().prepare(BytesView(text), rsa().chain, CmsFormat.options())
    assert refused_too.value.code == "other-purpose"
