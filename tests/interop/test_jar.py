# SPDX-License-Identifier: Apache-2.0
"""Signed JARs, judged by programs that share no code with ours: jarsigner, openssl, and a plain recomputation."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from signwright.envelopes.templates import template_named
from signwright.errors import FormatError, VerificationError
from signwright.formats.jar import JarFormat, JarOptions
from signwright.model.digest import Digest
from signwright.model.view import BytesView
from signwright.readers.jar import JarReader
from signwright.timestamps.query import timestamp_query
from signwright.timestamps.reply import token_of_reply
from tests.support.jar_builder import SHAPES, check_by_the_book, removed, sign, small_jar
from tests.support.jar_tools import accepted, jarsigner_says, jarsigner_signs, multi_release_jar, run
from tests.support.openssl_ts import OpensslTsa, run_openssl
from tests.support.pki import default_pki
from tests.support.signed_files import identity
from tests.support.zip_builder import unpacked

NAME = "EXAMPLE_"
BLOCKS = {"rsa3072": "RSA", "p256": "EC", "p384": "EC", "p521": "EC", "ed25519": "EC"}


def openssl_accepts(content: bytes, folder: Path, signer: str = NAME, block: str = "RSA") -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (folder / "block").write_bytes(archive.read(f"META-INF/{signer}.{block}"))
        (folder / "content").write_bytes(archive.read(f"META-INF/{signer}.SF"))
    (folder / "root.pem").write_bytes(default_pki().root_pem)
    command = ["cms", "-verify", "-binary", "-inform", "DER", "-in", "block", "-content", "content"]
    run_openssl([*command, "-CAfile", "root.pem", "-purpose", "any", "-out", "out"], folder)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_every_shape_is_accepted_by_all(tmp_path: Path, shape: str) -> None:
    signed = sign(SHAPES[shape].build(), identity("rsa3072"))
    told = jarsigner_says(signed, tmp_path, identity("rsa3072"))
    assert (told.returncode, "jar verified." in told.stdout) == (0, True), told.stdout + told.stderr
    openssl_accepts(signed, tmp_path)
    check_by_the_book(signed, NAME)


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("key_type", sorted(BLOCKS))
def test_every_key_with_every_digest_is_accepted_by_all(tmp_path: Path, key_type: str, digest: str) -> None:
    if key_type == "ed25519" and digest != "sha512":
        return  # refused before a key is used: tests/unit/formats/test_jar.py
    signed = sign(small_jar(), identity(key_type), digest=digest)
    assert accepted(signed, tmp_path, identity(key_type))
    if key_type != "ed25519":  # OpenSSL 3.0 verifies no Ed25519 signatures in CMS
        openssl_accepts(signed, tmp_path, block=BLOCKS[key_type])
    check_by_the_book(signed, NAME, digest)


def test_compiled_multi_release_program_is_accepted_and_runs_as_before(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = multi_release_jar(tmp_path_factory.mktemp("javac"))
    facts = JarFormat().prepare(BytesView(source), identity().chain, JarOptions()).facts
    assert (facts["multi_release"], facts["main_class"]) == (True, "com.example.Main")
    signed = sign(source, identity("p256"))
    assert accepted(signed, tmp_path, identity("p256"))
    assert run("java", "-jar", "a.jar", cwd=tmp_path).stdout == "new\n"
    assert "META-INF/versions/17/com/example/Main.class" in dict(unpacked(signed))


THROUGH = """
import java.io.*; import java.util.jar.*;
public class Through { public static void main(String[] files) throws Exception {
  for (String file : files)
    try (JarInputStream in = new JarInputStream(new FileInputStream(file), true)) {
      System.out.println(file + " " + (in.getManifest() != null));
      for (JarEntry e; (e = in.getNextJarEntry()) != null;) {
        in.readAllBytes();
        boolean plain = e.isDirectory() || e.getName().startsWith("META-INF/");
        if (!plain) System.out.println(e.getName() + " " + e.getCodeSigners().length);
      }
    }
} }
"""


def test_a_reader_that_goes_through_from_the_start_finds_the_signers(tmp_path: Path) -> None:
    """java.util.jar.JarInputStream wants the manifest first, and the files of signatures before all others."""
    (tmp_path / "Through.java").write_text(THROUGH)
    wanted = []
    for shape in ("plain", "no-folder", "no-manifest", "manifest-last", "manifest-last-without-folder"):
        once = sign(SHAPES[shape].build(), identity("rsa3072"))
        twice = sign(once, identity("p256"), existing="append", signer_name="SECOND")
        for count, content in ((1, once), (2, twice)):
            (tmp_path / f"{shape}-{count}").write_bytes(content)
            wanted += [
                f"{shape}-{count} true",
                f"com/example/Main.class {count}",
                f"com/example/text.properties {count}",
            ]
    told = run("java", "Through.java", *(line.split()[0] for line in wanted if line.endswith(" true")), cwd=tmp_path)
    assert told.stdout.splitlines() == wanted, told.stderr


@pytest.mark.parametrize(
    ("shape", "theirs"),
    [
        *((shape, "SHA-256") for shape in ("plain", "sections", "names", "manifest-last", "no-empty-line", "wide")),
        ("sections", "SHA-384"),
        ("plain", "SHA-512"),
    ],
)
def test_ours_beside_jarsigner_s_in_either_order(tmp_path: Path, shape: str, theirs: str) -> None:
    source, first, second = SHAPES[shape].build(), identity("rsa3072"), identity("p256")
    options = ["-digestalg", theirs]
    theirs_first = sign(jarsigner_signs(source, tmp_path, first, *options), second, existing="append", digest="sha384")
    ours_first = jarsigner_signs(
        sign(source, second, digest=theirs.replace("-", "").lower()), tmp_path, first, *options
    )
    for content in (theirs_first, ours_first):
        told = jarsigner_says(content, tmp_path, first, second, options=["-verbose", "-certs"])
        assert told.returncode == 0, told.stdout
        signers = [found.notes["signer"] for found in JarReader().read(BytesView(content)).signatures]
        assert sorted(signers) == [NAME, "OTHER"]
        openssl_accepts(content, tmp_path, block="EC")


def test_jarsigner_with_another_digest_breaks_the_signature_before_its_own(tmp_path: Path) -> None:
    """It puts its digests into the sections that the first signer signed; ours uses those that are there."""
    broken = jarsigner_signs(sign(small_jar()), tmp_path, identity("p256"), "-digestalg", "SHA-512")
    assert "invalid SHA-256 signature file digest" in jarsigner_says(broken, tmp_path, identity("p256")).stdout
    with pytest.raises(VerificationError) as refusal:
        JarReader().read(BytesView(broken))
    assert refusal.value.code == "digest-mismatch"


def test_a_file_that_the_first_signer_did_not_sign_is_signed_by_the_second(tmp_path: Path) -> None:
    """jarsigner counts files and is content; our reader counts signers, and leaves out the first."""
    first, second = identity("rsa3072"), identity("p256")
    content = jarsigner_signs(small_jar(), tmp_path, first)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    grown = io.BytesIO()
    with zipfile.ZipFile(grown, "w") as archive:
        for info, member in members:
            archive.writestr(info, member)
        archive.writestr("later.txt", b"added later")
    assert not accepted(grown.getvalue(), tmp_path, first)
    signed = sign(grown.getvalue(), second, existing="append")
    assert accepted(signed, tmp_path, first, second)
    reading = JarReader().read(BytesView(signed))
    assert [found.notes["signer"] for found in reading.signatures] == [NAME]
    assert "signature OTHER does not cover every entry" in reading.warnings[0]


@pytest.mark.parametrize("shape", ["plain", "sections", "names"])
def test_replaced_signature_of_jarsigner_leaves_nothing_of_it(tmp_path: Path, shape: str) -> None:
    source, first, second = SHAPES[shape].build(), identity("rsa3072"), identity("p256")
    signed = sign(jarsigner_signs(source, tmp_path, first), second, existing="replace")
    assert accepted(signed, tmp_path, second)
    assert not any("OTHER" in name for name, _ in unpacked(signed))
    check_by_the_book(signed, NAME)


def test_removed_signature_is_gone_for_jarsigner(tmp_path: Path) -> None:
    plain = removed(jarsigner_signs(sign(small_jar()), tmp_path, identity("p256")))
    assert "jar is unsigned" in jarsigner_says(plain, tmp_path, identity("p256")).stdout
    assert dict(unpacked(plain)) == dict(unpacked(small_jar()))


@pytest.mark.parametrize("name", ["com/example/Main.class", "META-INF/MANIFEST.MF", f"META-INF/{NAME}.SF"])
def test_a_changed_member_is_refused_by_all(tmp_path: Path, name: str) -> None:
    signed = sign(small_jar(), identity("rsa3072"))
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(signed)) as old, zipfile.ZipFile(changed, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info, content.replace(b"com", b"org") + b"x" if info.filename == name else content)
    assert accepted(signed, tmp_path, identity("rsa3072"))
    assert not accepted(changed.getvalue(), tmp_path, identity("rsa3072"))
    with pytest.raises((AssertionError, ValueError)):
        openssl_accepts(changed.getvalue(), tmp_path)
        check_by_the_book(changed.getvalue(), NAME)


@pytest.mark.parametrize("existing", ["refuse", "append"])
def test_timestamp_is_seen_by_jarsigner(tmp_path: Path, existing: str) -> None:
    """RSA, because its value is the same each time: the token is of the value that is made again."""
    first, signer = identity("p256"), identity("rsa3072")
    source = jarsigner_signs(small_jar(), tmp_path, first) if existing == "append" else small_jar()
    options = JarOptions.model_validate({"existing": existing})
    prepared = JarFormat().prepare(BytesView(source), signer.chain, options)
    (operation,) = prepared.operations
    value = signer.sign(template_named("jar").to_be_signed(operation, signer.context()))
    authority = OpensslTsa(tmp_path / "tsa", default_pki().timestamping(), with_chain=True)
    token = token_of_reply(authority.reply(timestamp_query(Digest.of(value), 7)))
    signed = sign(source, signer, token=token, existing=existing)
    told = jarsigner_says(signed, tmp_path, first, signer, options=["-verbose:all", "-certs"])
    assert told.returncode == 0, told.stdout
    assert "Timestamped by" in told.stdout
    assert existing == "append" or "do not include a timestamp" not in told.stdout
    tokens = {found.notes["signer"]: found.timestamp_token for found in JarReader().read(BytesView(signed)).signatures}
    assert tokens[NAME] == token


def test_a_file_that_was_taken_out_is_refused_by_us_alone(tmp_path: Path) -> None:
    signed = sign(small_jar(), identity("rsa3072"))
    less = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(signed)) as old, zipfile.ZipFile(less, "w") as new:
        for info in old.infolist():
            if not info.filename.endswith(".class"):
                new.writestr(info, old.read(info))
    assert accepted(less.getvalue(), tmp_path, identity("rsa3072"))
    with pytest.raises(VerificationError) as refusal:
        JarReader().read(BytesView(less.getvalue()))
    assert refusal.value.code == "missing-entries"


def test_a_jar_that_jarsigner_signs_with_sha1_can_be_replaced_and_not_completed(tmp_path: Path) -> None:
    theirs = jarsigner_signs(small_jar(), tmp_path, identity("p256"), "-digestalg", "SHA-1")
    with pytest.raises(VerificationError) as refusal:
        JarReader().read(BytesView(theirs))
    assert refusal.value.code in ("weak-digest", "unsigned-entries")
    with pytest.raises(FormatError) as no_section:
        sign(theirs, identity("rsa3072"), existing="append")
    assert no_section.value.code == "manifest-section"
    assert accepted(sign(theirs, identity("rsa3072"), existing="replace"), tmp_path, identity("rsa3072"))
