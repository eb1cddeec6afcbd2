# SPDX-License-Identifier: Apache-2.0
"""Containers whose members are never signed in place: listed, verified, refused where they had to be signed before."""

from __future__ import annotations

import pytest

from signwright.errors import FormatError
from signwright.formats.registry import FORMATS
from signwright.model.digest import sha256_hex
from signwright.plan import contents
from tests.support.cab_builder import Cab, Folder, cabinet
from tests.support.deep import inside, kept, prepared, signed
from tests.support.format_samples import SAMPLES
from tests.support.pe_builder import Pe
from tests.support.signed_files import identity, sign
from tests.support.zip_builder import Zip

VENDOR = identity("rsa2048")
LISTED = [sha256_hex(VENDOR.chain[0])]
PROGRAM, SIGNED = Pe().build(), sign(FORMATS["pe"], Pe().build(), VENDOR)
VERIFIED = {"path": "**/*.exe", "action": "verify", "signers": LISTED}


def cab(content: bytes) -> bytes:
    return cabinet(("a.exe", content), ("read.me", b"read"))


def test_cabinet_whose_programs_are_signed_is_prepared_as_ever():
    made = prepared(cab(SIGNED), inside(signed("*.exe", "pe", signers=LISTED), kept()), form="cab")
    assert [o.inner_path for o in made.operations] == [""]


@pytest.mark.parametrize(
    ("rule", "content", "words"),
    [
        (signed("*.exe", "pe", signers=LISTED), PROGRAM, "a.exe: not signed; must be signed before packing"),
        (VERIFIED, PROGRAM, "a.exe: not signed; wanted a signature by a listed signer"),
        (VERIFIED, sign(FORMATS["pe"], PROGRAM), "a.exe: signed by certificate .*; wanted"),
        ({**VERIFIED, "min": 2}, SIGNED, "1 members, wanted 2"),
        (signed("none.exe", "pe"), SIGNED, "2 problems: a.exe: no rule names it.*read.me: no rule"),
    ],
)
def test_cabinet_with_a_member_that_is_not_as_wanted_is_refused(rule, content, words):
    more = [] if rule.get("path") == "none.exe" else [kept("read.me")]
    with pytest.raises(FormatError, match=words):
        prepared(cab(content), inside(rule, *more), form="cab")


def test_containers_within_are_looked_into_where_a_rule_has_members():
    rule = inside({**kept("*.cab"), "members": [VERIFIED, kept()]}, signed("*.exe", "pe"), kept())
    good = Zip((("x.exe", PROGRAM), ("in.cab", cab(SIGNED)))).build()
    assert len(prepared(good, rule).operations) == 1
    with pytest.raises(FormatError, match=r"^in\.cab/a\.exe: not signed; wanted"):
        prepared(Zip((("x.exe", PROGRAM), ("in.cab", cab(PROGRAM)))).build(), rule)


def test_installer_is_looked_into_down_to_its_cabinet():
    rule = inside({**kept("product.cab"), "members": [signed("**", "pe")]}, unlisted="keep")
    with pytest.raises(FormatError, match=r"product\.cab/.*must be signed before packing"):
        prepared(SAMPLES["msi"](), rule, form="msi")


def test_installer_whose_members_are_all_to_be_kept_is_prepared_as_ever():
    assert prepared(SAMPLES["msi"](), inside(kept()), form="msi").operations


def test_classes_of_a_jar_may_differ_in_case_alone_and_files_of_other_archives_may_not():
    manifest = b"Manifest-Version: 1.0\r\n\r\n"
    jar = Zip((("META-INF/MANIFEST.MF", manifest), ("a.class", b"a"), ("A.class", b"A"))).build()
    assert prepared(jar, inside(kept()), form="jar").operations
    rule = {**kept("in.jar"), "members": [kept()]}
    source = Zip((("a.exe", PROGRAM), ("in.jar", jar))).build()
    assert prepared(source, inside({**rule, "format": "jar"}, signed("*.exe", "pe"))).operations
    with pytest.raises(FormatError, match=r"in\.jar/A\.class: it is there twice"):
        prepared(source, inside(rule, signed("*.exe", "pe")))


def test_file_of_a_cabinet_that_shares_its_bytes_is_under_the_rule_for_its_own_name():
    size = len(PROGRAM)
    files = (("a.txt", size, 0, 0), ("b.exe", size, 0, 0))
    content = Cab((Folder(files=(("a.txt", PROGRAM),), records=files),)).build()
    rule = inside(VERIFIED, kept("*.txt"))
    with pytest.raises(FormatError, match=r"^b\.exe: not signed; wanted"):
        prepared(content, rule, form="cab")
    with pytest.raises(FormatError, match=r"^b\.exe: no rule names it"):
        prepared(content, inside(kept("*.txt")), form="cab")
    assert prepared(content, inside(kept()), form="cab").operations


def test_file_that_is_two_containers_is_refused_whichever_is_looked_into_first():
    both = cab(PROGRAM) + Zip((("fine.txt", b"fine"),)).build()
    rule = inside({**kept("in.cab"), "members": [kept("*.txt")]}, signed("*.exe", "pe"))
    with pytest.raises(FormatError, match=r"in\.cab: several containers in one: zip, cab|cab, zip"):
        prepared(Zip((("a.exe", PROGRAM), ("in.cab", both))).build(), rule)


def test_what_is_no_container_and_what_is_too_much_is_refused(monkeypatch):
    with pytest.raises(FormatError, match="no container that is read"):
        prepared(PROGRAM, inside(kept()), form="pe")
    monkeypatch.setattr(contents, "MAX_UNPACKED", 10)
    with pytest.raises(FormatError, match="more than 10 bytes"):
        prepared(cab(SIGNED), inside(VERIFIED, kept()), form="cab")
