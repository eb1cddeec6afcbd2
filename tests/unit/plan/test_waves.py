# SPDX-License-Identifier: Apache-2.0
"""Archives that are signed themselves after their members: a JAR, a package of NuGet, one within another."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import pytest

from signwright.errors import FormatError, VerificationError
from signwright.formats.msix_publisher import publisher_of
from signwright.formats.registry import FORMATS
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from signwright.plan import signing
from signwright.policy.documents import Inside
from signwright.readers.msix_members import check_block_map
from signwright.readers.registry import READERS
from tests.support.deep import envelopes_for, inside, kept, patch_for, prepared, sign_inside, signed
from tests.support.format_samples import sample_for
from tests.support.msix_builder import Msix, small_bundle
from tests.support.pe_builder import Pe
from tests.support.signed_files import identity, sign
from tests.support.zip_builder import Zip

PROGRAM = Pe(overlay=b"ours").build()
MANIFEST = b"Manifest-Version: 1.0\r\nCreated-By: a build\r\n\r\n"


def jar(**members: bytes) -> bytes:
    files = {"META-INF/MANIFEST.MF": MANIFEST, "a/B.class": b"\xca\xfe\xba\xbe", "native/lib.dll": PROGRAM, **members}
    return Zip(tuple(files.items())).build()


NATIVE = inside(signed("native/*", "pe", min=1), kept("**"))


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        assert found.testzip() is None
        return {name: found.read(name) for name in found.namelist()}


def test_program_in_a_jar_is_signed_and_then_the_jar() -> None:
    made = prepared(jar(), NATIVE, form="jar")
    assert (made.format, [one.inner_path for one in made.operations]) == ("zip", ["native/lib.dll"])
    (later,) = made.later
    assert (later.inner_path, later.wave, later.template, later.algorithm) == ("", 1, "jar", "sha256")
    result = sign_inside(jar(), NATIVE, form="jar")
    assert len(READERS["jar"].read(BytesView(result)).signatures) == 1
    assert len(READERS["pe"].read(BytesView(members(result)["native/lib.dll"])).signatures) == 1


def test_archive_in_which_no_member_is_to_be_signed_is_signed_at_once() -> None:
    rule = inside(signed("none/*", "pe"), kept("**"))
    made = prepared(jar(), rule, form="jar")
    assert (made.format, made.later, [one.inner_path for one in made.operations]) == ("jar", (), [""])
    assert len(READERS["jar"].read(BytesView(sign_inside(jar(), rule, form="jar"))).signatures) == 1


def test_innermost_first_however_deep() -> None:
    inner = {"path": "**/*.jar", "action": "sign", "format": "jar", "members": NATIVE.members}
    war = Zip((("WEB-INF/lib/x.jar", jar()), ("WEB-INF/lib/y.jar", jar()), ("index.html", b"<p>"))).build()
    rule = inside({**inner, "members": [row.model_dump() for row in NATIVE.members]}, kept("**"))
    made = prepared(war, rule, form="jar")
    assert [(one.inner_path, one.wave) for one in made.later] == [
        ("WEB-INF/lib/x.jar", 1),
        ("WEB-INF/lib/y.jar", 1),
        ("", 2),
    ]
    names = [row.path for row in made.members]
    assert names == [
        f"WEB-INF/lib/{name}" for name in ("x.jar/native/lib.dll", "x.jar", "y.jar/native/lib.dll", "y.jar")
    ]
    result = members(sign_inside(war, rule, form="jar"))
    assert READERS["jar"].read(BytesView(sign_inside(war, rule, form="jar"))).signatures
    held = result["WEB-INF/lib/y.jar"]
    assert READERS["jar"].read(BytesView(held)).signatures
    assert READERS["pe"].read(BytesView(members(held)["native/lib.dll"])).signatures


def test_plain_archive_signs_a_jar_in_it_after_its_members() -> None:
    row = {"path": "*.jar", "action": "sign", "format": "jar", "members": [r.model_dump() for r in NATIVE.members]}
    rule = inside(row, signed("*.exe", "pe"), kept("**"))
    source = Zip((("x.jar", jar()), ("tool.exe", PROGRAM), ("read.me", b"text"))).build()
    made = prepared(source, rule)
    assert [one.inner_path for one in made.operations] == ["x.jar/native/lib.dll", "tool.exe"]
    assert [(one.inner_path, one.wave) for one in made.later] == [("x.jar", 1)]
    result = sign_inside(source, rule)
    found = READERS["zip"].read_members(BytesView(result), ["x.jar/native/lib.dll", "tool.exe"])  # type: ignore[attr-defined]
    assert [one.inner_path for one in found.signatures] == ["x.jar/native/lib.dll", "tool.exe"]
    assert [one.inner_path for one in READERS["zip"].read(BytesView(result)).signatures] == ["x.jar", "tool.exe"]


def test_program_in_a_nuget_package_is_signed_and_then_the_package() -> None:
    source = members(sample_for("nuget", identity("rsa2048").chain[0]))
    package = Zip((*source.items(), ("tools/tool.exe", PROGRAM))).build()
    rule = inside(signed("tools/*.exe", "pe", min=1), kept("**"))
    signer = identity("rsa2048")
    result = sign_inside(package, rule, signer, form="nuget")
    assert len(READERS["nuget"].read(BytesView(result)).signatures) == 1
    assert len(READERS["pe"].read(BytesView(members(result)["tools/tool.exe"])).signatures) == 1


def test_old_signature_of_the_archive_gives_way_only_where_that_was_asked_for() -> None:
    old = sign(FORMATS["jar"], jar(), identity("rsa2048"))
    with pytest.raises(FormatError) as refused:
        prepared(old, NATIVE, form="jar")
    assert refused.value.code == "already-signed"
    with pytest.raises(FormatError, match="would not hold"):
        patch_for(old, NATIVE, form="jar", existing="append", signer_name="OTHER")
    assert sign_inside(jar(), NATIVE, form="jar", existing="append"), "there is none"
    result = sign_inside(old, NATIVE, form="jar", existing="replace")
    (found,) = READERS["jar"].read(BytesView(result)).signatures
    assert found.signer_certificate == identity().chain[0]


@pytest.mark.parametrize("existing", ["refuse", "replace", "append"])
@pytest.mark.parametrize("form", ["jar", "msix", "nuget"])
def test_unsigned_archive_within_is_signed_whatever_was_to_become_of_old_signatures(form: str, existing: str) -> None:
    signer = identity("rsa2048")
    inner = {
        "jar": jar(),
        "msix": Msix(files=(("native/lib.dll", PROGRAM),), publisher=publisher_of(signer.chain[0])).build(),
        "nuget": Zip((*members(sample_for("nuget", b"")).items(), ("native/lib.dll", PROGRAM))).build(),
    }[form]
    name = {"jar": "x.jar", "msix": "x.msix", "nuget": "x.nupkg"}[form]
    within = [row.model_dump() for row in NATIVE.members]
    row = {"path": name, "action": "sign", "format": form, "existing": existing, "members": within}
    result = members(sign_inside(Zip(((name, inner),)).build(), inside(row), signer))[name]
    assert len(READERS[form].read(BytesView(result)).signatures) == 1
    assert len(READERS["pe"].read(BytesView(members(result)["native/lib.dll"])).signatures) == 1


def test_all_problems_of_members_are_told_before_anything_is_signed() -> None:
    with pytest.raises(FormatError) as refused:
        prepared(
            jar(**{"native/x": b"no program", "y.bin": b""}), inside(signed("native/*", "pe"), kept("a/*")), form="jar"
        )
    assert refused.value.code == "members"
    assert all(name in refused.value.message for name in ("native/x", "y.bin"))


def test_later_wave_that_would_go_beyond_a_limit_is_refused_before_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is to be signed for an archive that cannot be finished."""
    inner = {"path": "*.jar", "action": "sign", "format": "jar", "members": [r.model_dump() for r in NATIVE.members]}
    war = Zip(tuple((f"{number}.jar", jar()) for number in range(3))).build()
    assert len(prepared(war, inside(inner, kept("**")), form="jar").later) == 4
    monkeypatch.setattr("signwright.plan.archive.MAX_BESIDE_PARTS", 8)
    with pytest.raises(FormatError, match="need 9 parts"):
        prepared(war, inside(inner, kept("**")), form="jar")


@pytest.mark.parametrize("paths", [["native/none.dll"], ["a/B.class"], ["", "native/lib.dll"], []])
def test_later_wave_of_what_no_rule_has_signed_is_refused(paths: list[str]) -> None:
    one = FORMATS["jar"]
    with pytest.raises(FormatError):
        signing.prepare_again(one, BytesView(jar()), identity().chain, one.options(), NATIVE, paths)


@pytest.mark.parametrize("form", ["msi", "cab", "pe"])
def test_containers_that_are_packed_with_digests_are_not_signed_inside(form: str) -> None:
    rule: Inside = inside(signed("*", "pe"))
    with pytest.raises(FormatError):
        prepared(sample_for(form, identity().chain[0]), rule, form=form)


SHAPES = {
    "packager": {},
    "newer": {"file_hashes": True, "fields64": True},
    "narrow": {"wide": False},
    "stored": {"stored": True, "file_hashes": True},
    "sha512": {"algorithm": "sha512"},
}
BIG = Pe(overlay=bytes(range(256)) * 1000).build()
PACKAGED = inside(signed("VFS/*.exe", "pe", min=1), kept("**"))


@pytest.mark.parametrize("shape", SHAPES)
def test_program_in_a_package_is_signed_with_its_rows_in_the_block_map_and_then_the_package(shape: str) -> None:
    files = (("app.exe", PROGRAM), ("VFS/tool.exe", BIG), ("Assets/x.png", b"\x89PNG"))
    source = Msix(files=files, **SHAPES[shape]).build()
    made = prepared(source, PACKAGED, form="msix")
    assert [one.inner_path for one in made.operations] == ["VFS/tool.exe"]
    assert [(one.inner_path, one.wave, one.template) for one in made.later] == [("", 1, "authenticode-appx")]
    result = BytesView(sign_inside(source, PACKAGED, form="msix"))
    check_block_map(result)
    assert len(READERS["msix"].read(result).signatures) == 1
    held = members(result.read(0, result.size))
    assert held["app.exe"] == PROGRAM
    assert len(READERS["pe"].read(BytesView(held["VFS/tool.exe"])).signatures) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_reader_of_members_sees_nothing_else_change_in_a_package(shape: str) -> None:
    files = (("app.exe", PROGRAM), ("VFS/tool.exe", BIG), ("VFS/other.exe", BIG + b"2"))
    source = Msix(files=files, **SHAPES[shape]).build()
    rule = inside(signed("VFS/tool.exe", "pe"), kept("**"))
    view, signer = BytesView(source), identity()
    made = prepared(source, rule, form="msix")
    step = Patched(view, sealed(view, signing.embed(view, made, envelopes_for(made, signer))))
    check_block_map(step)
    before = READERS["zip"].read_members(view, ["VFS/tool.exe"])  # type: ignore[attr-defined]
    after = READERS["zip"].read_members(step, ["VFS/tool.exe"])  # type: ignore[attr-defined]
    assert (before.stripped_sha256, before.kept_sha256) == (after.stripped_sha256, after.kept_sha256)
    assert [one.inner_path for one in after.signatures] == ["VFS/tool.exe"]


def test_package_whose_block_map_is_wrong_is_not_read_before_or_after() -> None:
    source = Msix(files=(("VFS/tool.exe", BIG),), map_of=lambda text: text.replace(' Size="', ' Size="1', 1)).build()
    with pytest.raises((FormatError, VerificationError)):
        READERS["zip"].read_members(BytesView(source), ["VFS/tool.exe"])  # type: ignore[attr-defined]
    with pytest.raises(FormatError):
        prepared(source, PACKAGED, form="msix")


def test_package_that_its_reader_would_refuse_later_is_refused_before_anything_is_signed() -> None:
    """The format takes a row that says more than it knows; the reader of block maps does not."""
    package = Msix(files=(("VFS/tool.exe", BIG),), map_of=lambda text: text.replace("<File ", '<File Note="x" ', 1))
    assert sign_inside(package.build(), Inside(), form="msix")
    with pytest.raises(FormatError):
        prepared(package.build(), PACKAGED, form="msix")


def test_packages_are_signed_before_they_are_bundled() -> None:
    with pytest.raises(FormatError, match="must be signed before packing"):
        prepared(small_bundle(), inside(signed("*.msix", "msix", min=1), kept("**")), form="msix")


def test_package_with_a_catalog_of_its_programs_is_not_signed_inside() -> None:
    files = (("VFS/tool.exe", PROGRAM), ("AppxMetadata/CodeIntegrity.cat", b"0"))
    with pytest.raises(FormatError):
        prepared(Msix(files=files).build(), PACKAGED, form="msix")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("<File ", "<!-- note --><File ", 1),
        lambda text: text.replace("<File ", '<File  Note="x" ', 1),
        lambda text: text.replace("<BlockMap ", '<BlockMap Note="x" ', 1),
        lambda text: text.replace("</BlockMap>", "<Note/></BlockMap>"),
        lambda text: text.replace("\r\n", "\n"),
    ],
    ids=["comment", "attribute", "of the root", "element", "line ends"],
)
def test_nothing_is_slipped_into_a_block_map_while_a_member_is_signed(change: Callable[[str], str]) -> None:
    """By a worker that some member took over: everything but the rows of what is signed stays, byte for byte."""
    program = sign(FORMATS["pe"], BIG)
    before = Msix(files=(("a.exe", PROGRAM), ("VFS/tool.exe", BIG)))
    after = before.but(files=(("a.exe", PROGRAM), ("VFS/tool.exe", program)))

    def read(package: Msix) -> str:
        view = BytesView(package.build())
        return str(READERS["zip"].read_members(view, ["VFS/tool.exe"]).stripped_sha256)  # type: ignore[attr-defined]

    assert read(after) == read(before)
    try:
        found = read(after.but(map_of=change))
    except (FormatError, VerificationError):
        return
    assert found != read(before)
