# SPDX-License-Identifier: Apache-2.0
"""Members of a zip that are signed: the result opens, each signature holds, and nothing else has changed."""

from __future__ import annotations

import io
import zipfile

import pytest

from signwright.errors import FormatError
from signwright.formats.base import FormatOptions
from signwright.formats.registry import FORMATS
from signwright.model.digest import sha256_hex
from signwright.model.view import BytesView
from signwright.plan import archive as deep
from signwright.plan import contents, signing
from signwright.plan.contents import MAX_DEPTH
from signwright.readers.registry import READERS
from tests.support.deep import inside, kept, patch_for, prepared, sign_inside, signed
from tests.support.format_samples import SAMPLES, sample_for
from tests.support.member_zips import Part, build
from tests.support.pe_builder import Pe
from tests.support.signed_files import identity, sign
from tests.support.zip_builder import Zip

PROGRAM, OTHER = Pe().build(), Pe(overlay=b"other").build()
FILES = (
    ("readme.txt", b"read me " * 50),
    ("bin/a.exe", PROGRAM),
    ("bin/", b""),
    ("bin/b.exe", OTHER),
    ("end", b"e" * 9),
)
EXES = inside(signed("bin/*.exe", "pe"), kept(), unlisted="keep")
SHAPES = {
    "deflated": Zip(FILES),
    "stored": Zip(FILES, stored=True),
    "descriptors": Zip(FILES, descriptors=True),
    "stored with descriptors": Zip(FILES, descriptors=True, stored=True),
    "64 bits": Zip(FILES, wide=True),
    "64 bits stored": Zip(FILES, wide=True, stored=True),
    "prefix and comment": Zip(FILES, prefix=b"#!stub\n", comment=b"a comment"),
    "prefix not counted": Zip(FILES, prefix=b"#!stub\n", counted=False, stored=True),
    "the last member": Zip((FILES[0], FILES[1])),
    "the only member": Zip((FILES[1],), stored=True),
}


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert opened.testzip() is None
        return {info.filename: opened.read(info) for info in opened.infolist()}


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_signed_members_hold_and_all_others_are_as_they_were(shape):
    source = SHAPES[shape].build()
    result = sign_inside(source, EXES)
    before, after = members(source), members(result)
    assert list(after) == list(before)
    for name, content in before.items():
        if name.endswith(".exe"):
            assert len(READERS["pe"].read(BytesView(after[name])).signatures) == 1
        else:
            assert after[name] == content
    prefix = SHAPES[shape].prefix
    assert result.startswith(prefix)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_headers_keep_times_rights_packing_extra_fields_and_comments(shape):
    source = SHAPES[shape].build()
    with zipfile.ZipFile(io.BytesIO(source)) as old, zipfile.ZipFile(io.BytesIO(sign_inside(source, EXES))) as new:
        assert new.comment == old.comment
        for one, two in zip(old.infolist(), new.infolist(), strict=True):
            same = ("filename", "date_time", "compress_type", "comment", "create_system", "external_attr")
            assert [getattr(one, name) for name in same] == [getattr(two, name) for name in same]
            assert b"kept" in two.extra


def test_stored_member_is_changed_in_place_and_the_patch_stays_small():
    large = Pe(overlay=bytes(3 << 20)).build()
    source = Zip((("a.exe", large), ("b.bin", bytes(1 << 20))), stored=True).build()
    patch = patch_for(source, inside(signed("*.exe", "pe"), kept()))
    assert patch.inserted < 8 << 10


@pytest.mark.parametrize("name", sorted({*SAMPLES} - {"cms", "raw", "zip"}))
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "deflated"])
def test_every_format_that_signs_within_a_file_can_be_a_member(name, stored):
    signer = identity("rsa2048")
    suffix = ".cat" if name == "catalog" else FORMATS[name].file_names[0].removeprefix("*")
    files = (("x/" + "a" + suffix, sample_for(name, signer.chain[0])), ("b.txt", b"text"))
    source = Zip(files, stored=stored).build()
    result = members(sign_inside(source, inside(signed("x/*", name), kept()), signer))
    assert len(READERS[name].read(BytesView(result["x/a" + suffix])).signatures) == 1


def test_archives_in_archives_are_signed_inside_and_the_path_says_so():
    inner = Zip(FILES).build()
    source = Zip((("pkg/in.zip", inner), ("top.exe", PROGRAM))).build()
    rule = inside(signed("pkg/*.zip", "zip", members=[signed("bin/*.exe", "pe"), kept()]), signed("*.exe", "pe"))
    made = prepared(source, rule)
    assert [o.inner_path for o in made.operations] == ["pkg/in.zip/bin/a.exe", "pkg/in.zip/bin/b.exe", "top.exe"]
    assert [m.path for m in made.members] == [o.inner_path for o in made.operations]
    result = members(sign_inside(source, rule))
    assert len(READERS["pe"].read(BytesView(members(result["pkg/in.zip"])["bin/a.exe"])).signatures) == 1


def nested(depth: int) -> tuple[bytes, dict[str, object]]:
    name, content, rule = "x.exe", PROGRAM, signed("x.exe", "pe")
    for _ in range(depth):
        content, rule = Zip(((name, content),)).build(), signed("x.zip", "zip", members=[rule])
        name = "x.zip"
    return content, rule


def test_archives_are_not_opened_without_end():
    content, rule = nested(MAX_DEPTH)
    assert prepared(content, inside(*rule["members"])).operations  # type: ignore[misc]
    content, rule = nested(MAX_DEPTH + 1)
    with pytest.raises(FormatError, match="archives in more than"):
        prepared(content, inside(*rule["members"]))  # type: ignore[misc]


def test_member_signed_by_a_listed_signer_stays_and_one_by_another_is_refused():
    vendor = identity("rsa2048")
    listed = [sha256_hex(vendor.chain[0])]
    theirs = sign(FORMATS["pe"], OTHER, vendor)
    source = Zip((("a.exe", PROGRAM), ("v.exe", theirs)), stored=True).build()
    made = prepared(source, inside(signed("*.exe", "pe", signers=listed)))
    assert [o.inner_path for o in made.operations] == ["a.exe"]
    assert (made.facts["signed"], made.facts["verified"]) == (1, 1)
    with pytest.raises(FormatError, match=r"v\.exe: signed by certificate .*; wanted no signature"):
        prepared(source, inside(signed("*.exe", "pe")))


@pytest.mark.parametrize(("existing", "count"), [("replace", 1), ("append", 2)])
def test_rule_says_what_becomes_of_an_old_signature(existing, count):
    source = Zip((("a.exe", sign(FORMATS["pe"], PROGRAM, identity("rsa2048"))),)).build()
    result = members(sign_inside(source, inside(signed("*.exe", "pe", existing=existing))))
    assert len(READERS["pe"].read(BytesView(result["a.exe"])).signatures) == count


def test_member_to_be_verified_needs_a_signature_by_a_listed_signer_that_holds():
    vendor = identity("rsa2048")
    theirs = sign(FORMATS["pe"], OTHER, vendor)
    rule = {"path": "v.exe", "action": "verify", "signers": [sha256_hex(vendor.chain[0])]}
    own = signed("a.exe", "pe")

    def packed(content: bytes) -> bytes:
        return Zip((("a.exe", PROGRAM), ("v.exe", content))).build()

    assert prepared(packed(theirs), inside(own, rule)).facts["verified"] == 1
    broken = bytearray(theirs)
    broken[len(OTHER) // 2] ^= 1
    for content, words in [
        (OTHER, "not signed"),
        (bytes(broken), "digest"),
        (b"no program", "of no format that is read"),
        (sign(FORMATS["pe"], OTHER), "signed by certificate"),
    ]:
        with pytest.raises(FormatError, match=rf"v\.exe: .*{words}.*; wanted a signature by a listed signer"):
            prepared(packed(content), inside(own, rule))


def test_all_problems_of_an_archive_are_told_at_once():
    source = Zip((("a.exe", b"no program"), ("b.exe", PROGRAM), ("stray", b""))).build()
    rule = inside(signed("a.exe", "pe"), signed("b.exe", "pe", metadata={"company_name": ["Example"]}))
    with pytest.raises(FormatError) as refused:
        prepared(source, rule)
    words = refused.value.message
    assert words.startswith("3 problems: ")
    assert "stray: no rule names it" in words
    assert "a.exe: " in words
    assert "'b.exe': it has no company_name" in words


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (signed("*", "zip"), "read as pe"),
        (signed("*", "nothing"), "no format 'nothing'"),
        (signed("*", "cms"), "does not sign within the file"),
        (signed("*", "pe", options={"colour": "red"}), "option colour"),
        (signed("*", "pe", options={"existing": "replace"}), "no option of a member"),
        (signed("*", "powershell"), "read as pe"),
        ({"path": "*", "action": "verify", "format": "zip"}, "has no signature of its own.*; wanted a signature"),
        (kept(), "no member is to be signed"),
    ],
)
def test_rule_that_makes_no_sense_is_refused(rule, words):
    with pytest.raises(FormatError, match=words):
        prepared(Zip((("a", PROGRAM),)).build(), inside(rule))


def test_options_of_members_are_those_of_the_rule():
    source = Zip((("a.exe", PROGRAM),)).build()
    (operation,) = prepared(source, inside(signed("*", "pe", options={"digest": "sha384"}))).operations
    assert operation.digest.startswith("sha384:")


def test_member_whose_checksum_is_wrong_is_refused():
    content = bytearray(Zip((("a.exe", PROGRAM),), stored=True).build())
    content[content.index(PROGRAM) + 200] ^= 1
    with pytest.raises(FormatError, match="checksum"):
        prepared(bytes(content), inside(signed("*", "pe")))


@pytest.mark.parametrize("action", ["sign", "verify"])
def test_symbolic_link_is_neither_signed_nor_taken_for_signed(action):
    link = Part("a.exe", sign(FORMATS["pe"], PROGRAM), external=0o120777 << 16)
    listed = [sha256_hex(identity().chain[0])]
    rule = {"path": "*.exe", "action": action, "format": "pe", "signers": listed}
    with pytest.raises(FormatError, match=r"a\.exe: a symbolic link"):
        prepared(build([link]), inside(rule))


def test_limits_are_kept(monkeypatch):
    source = Zip(FILES).build()
    for limit, words in [
        ("MAX_SIGNED", "2 members to be signed"),
        ("MAX_UNPACKED", "unpacked"),
        ("MAX_REPACKED", "packed bytes"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(deep, limit, 1)
            patch.setattr(contents, limit, 1, raising=False)
            with pytest.raises(FormatError, match=words):
                prepared(source, EXES)


def test_directory_that_could_not_be_rewritten_is_refused_before_the_key_is_used(monkeypatch):
    monkeypatch.setattr(deep, "MAX_MOVED_DIRECTORY", 300)
    with pytest.raises(FormatError, match=r"a directory of \d+ bytes, at most 300"):
        prepared(Zip(FILES).build(), EXES)


def test_members_that_unpack_to_far_more_than_the_file_has_are_refused_wherever_they_are(monkeypatch):
    monkeypatch.setattr(contents, "RATIO", 0)
    monkeypatch.setattr(contents, "RATIO_FLOOR", len(PROGRAM) + len(OTHER))
    twice, verified = Zip(FILES).build(), inside({**kept("*.zip"), "members": [signed("bin/*.exe", "pe"), kept()]})
    assert prepared(twice, EXES).operations
    three = Zip((*FILES, ("bin/c.exe", PROGRAM))).build()
    for source, rule in [
        (three, EXES),
        (Zip((("in.zip", twice),)).build(), inside(signed("*", "zip", members=[signed("bin/*", "pe"), kept()]))),
        (Zip((("in.zip", three),), stored=True).build(), verified),
    ]:
        with pytest.raises(FormatError, match="unpack to far more"):
            prepared(source, rule)


def test_packed_bytes_of_archives_within_count_as_well(monkeypatch):
    inner = Zip(FILES).build()
    source = Zip((("a.zip", inner), ("b.zip", inner)), stored=True).build()
    rule = inside(signed("*.zip", "zip", members=[signed("bin/*.exe", "pe"), kept()]))
    one = Zip((("a.zip", inner),), stored=True).build()
    with zipfile.ZipFile(io.BytesIO(inner)) as opened:
        packed = sum(info.compress_size for info in opened.infolist() if info.filename.endswith(".exe"))
    monkeypatch.setattr(deep, "MAX_REPACKED", packed)
    assert prepared(one, rule).operations
    with pytest.raises(FormatError, match="packed bytes of members"):
        prepared(source, rule)


def test_members_that_need_more_beside_them_than_can_travel_are_refused_by_the_client_too(monkeypatch):
    monkeypatch.setattr("signwright.plan.archive.MAX_BESIDE_PARTS", 64)
    signer = identity("rsa2048")
    jar = sample_for("jar", signer.chain[0])
    jars = Zip(tuple((f"{number}.jar", jar) for number in range(33))).build()
    rule = signed("*.jar", "jar")
    for source, wanted in [
        (jars, inside(rule)),
        (Zip((("in.zip", jars),)).build(), inside(signed("*", "zip", members=[rule]))),
    ]:
        with pytest.raises(FormatError, match=r"need 99 parts .* at most 64"):
            signing.prepare(FORMATS["zip"], BytesView(source), signer.chain, FormatOptions(), wanted)


def test_state_that_could_not_cross_processes_is_refused_by_the_client_too(monkeypatch):
    monkeypatch.setattr("signwright.formats.base.MAX_PREPARED", 1000)
    with pytest.raises(FormatError, match="bytes of facts, at most 1000"):
        signing.prepare(FORMATS["zip"], BytesView(Zip(FILES).build()), identity().chain, FormatOptions(), EXES)


def test_zip_without_rules_for_its_members_is_refused():
    with pytest.raises(FormatError) as refused:
        prepared(Zip(FILES).build(), inside())
    assert refused.value.code == "no-members"
    with pytest.raises(FormatError):
        FORMATS["zip"].remove(BytesView(Zip(FILES).build()))


def bent(source: bytes, **changes: object) -> object:
    made = prepared(source, EXES)
    copy = made.model_copy(update=changes)
    copy._contents, copy._tables = made.contents, made.tables
    return copy


@pytest.mark.parametrize(
    "change",
    [
        lambda _: {"state": {"members": []}},
        lambda _: {"state": {}},
        lambda m: {"state": {"members": [{**m[0], "name": "bin/none"}, m[1]]}},
        lambda m: {"state": {"members": [m[0], {**m[1], "name": m[0]["name"]}]}},
        lambda m: {"state": {"members": [m[0]]}},
        lambda m: {"state": {"members": [{**m[0], "tables": 9}, m[1]]}},
        lambda m: {"state": {"members": [{**m[0], "format": "cab"}, m[1]]}},
        lambda m: {"state": {"members": [{**m[0], "prepared": {}}, m[1]]}},
        lambda m: {"state": {"members": [{**m[0], "prepared": {**m[0]["prepared"], "source_size": 3}}, m[1]]}},
        lambda _: {"source_size": 7},
        lambda _: {"format": "pe"},
    ],
)
def test_state_that_was_changed_on_its_way_is_refused(change):
    source = Zip(FILES).build()
    made = bent(source, **change(prepared(source, EXES).state["members"]))
    with pytest.raises(FormatError):
        signing.embed(BytesView(source), made, [b"0"] * 2)  # type: ignore[arg-type]


def test_format_takes_no_options():
    assert FORMATS["zip"].options is FormatOptions


def test_archive_within_needs_rules_of_its_own():
    source = Zip((("in.zip", Zip(FILES).build()),)).build()
    with pytest.raises(FormatError, match="names none"):
        prepared(source, inside(signed("*", "zip")))
