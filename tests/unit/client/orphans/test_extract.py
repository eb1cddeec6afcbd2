# SPDX-License-Identifier: Apache-2.0
"""Which keys signed a file, from files that hold, are broken, cut off, or made by nobody."""

from __future__ import annotations

import base64
import io
import time
import zipfile

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.client.orphans.anywhere import structures_in
from signwright.client.orphans.extract import Look, raw_signature, signatures_in, stamps_for
from signwright.client.orphans.found import Found, Proof
from signwright.client.orphans.ledger import Ledger
from signwright.errors import FormatError, SignwrightError, VerificationError
from signwright.model.digest import Digest, sha256_hex
from signwright.model.view import BytesView
from signwright.readers.msi import MsiReader
from tests.support.cfb_builder import Cfb
from tests.support.leaves import genesis, intent, policy, result
from tests.support.msi_builder import SIGNATURE, streams_of, wixl_installer
from tests.support.msi_builder import sign as sign_installer
from tests.support.msix_builder import signed_msix
from tests.support.orphans import signature_value
from tests.support.pki import private_key, public_bytes
from tests.support.receipts import SOURCES, SignedWorld
from tests.support.signed_files import identity


@pytest.fixture(scope="module")
def world() -> SignedWorld:
    return SignedWorld()


def found_in(world: SignedWorld, content: bytes) -> list[Found]:
    return list(signatures_in("file", BytesView(content), Look(stamps_for(world.trust()))))


@pytest.mark.parametrize("kind", ["pe", "cms"])
def test_a_signature_tells_value_key_certificate_content_and_time(world, kind):
    view, content, _ = world.sign(kind, SOURCES[kind])
    (found,) = found_in(world, view)
    operation = world.operations(kind, content or SOURCES[kind])[0]
    assert found.proof is Proof.MADE
    assert found.value_sha256 == sha256_hex(signature_value(kind, view))
    assert (found.key, found.certificate) == (
        sha256_hex(world.identity.public_key),
        sha256_hex(world.identity.certificate),
    )
    assert found.content == operation.digest
    assert found.stamp is not None
    assert (found.stamp.time, found.stamp.authority) == (world.now, "builtin")


def test_a_signature_in_scattered_sectors_of_a_broken_installer_is_found(world):
    """In an installer that holds the reader finds it; else its stream is followed, beside all that is in one piece."""
    signed = sign_installer(wixl_installer())
    inside, _, _ = world.sign("pe", SOURCES["pe"])
    tree = {"x.exe": inside, SIGNATURE: streams_of(signed)[f"/{SIGNATURE}"], "Other": b"x" * 100}
    broken = Cfb(tree, scatter=1, mini_gaps=1).build()
    with pytest.raises(VerificationError):
        MsiReader().read(BytesView(broken))
    assert len(list(structures_in(BytesView(broken)))) == 1  # in one piece is that of the program alone
    keys = {one.key for one in found_in(world, broken)}
    assert sha256_hex(identity().public_key) in keys
    assert [one.key for one in found_in(world, signed)] == [sha256_hex(identity().public_key)]


def test_a_timestamp_over_another_value_dates_nothing_for_certain(world):
    view, _, _ = world.sign("pe", SOURCES["pe"], stamped_value=b"another")
    (found,) = found_in(world, view)
    assert found.stamp is not None
    assert found.stamp.authority is None


def test_a_signature_without_timestamp_has_no_time(world):
    assert stamps_for(world.trust())(b"value", None) is None
    assert stamps_for(world.trust())(b"value", b"no token") is None


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_raw_signature_is_found_with_each_digest_and_the_right_key_alone(world, algorithm):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    hashed = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}[algorithm]
    value = world.raw_key.sign(b"firmware", ec.ECDSA(hashed))
    ours, other = public_bytes(world.raw_key), world.identity.public_key
    found = raw_signature("fw.sig", value, iter([b"firm", b"ware"]), [other, ours])
    assert found is not None
    assert (found.key, found.content) == (sha256_hex(ours), str(Digest.of(b"firmware", algorithm)))
    assert raw_signature("fw.sig", value, iter([b"firmware"]), [other]) is None
    assert raw_signature("fw.sig", value, iter([b"Firmware"]), [ours]) is None


@pytest.mark.parametrize("curve", ["p256", "p384", "p521"])
def test_the_twin_of_a_value_is_a_signature_too_and_of_the_same_use(curve):
    """Whoever turns s into n - s makes another valid value without the key: it is no second use of it."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = private_key(curve)
    value = key.sign(b"content", ec.ECDSA(hashes.SHA256()))
    first = raw_signature("a.sig", value, iter([b"content"]), [public_bytes(key)])
    order = key.curve.group_order
    r, s = decode_dss_signature(value)
    twin = encode_dss_signature(r, order - s)
    second = raw_signature("b.sig", twin, iter([b"content"]), [public_bytes(key)])
    assert (first.twin_sha256, second.twin_sha256) == (second.value_sha256, first.value_sha256)
    book = Ledger([second])
    leaves = (genesis(), policy(), intent(key=first.key), result(signature_sha256=(first.value_sha256,)))
    book.see(enumerate(leaf.encode() for leaf in leaves))
    assert book.missing() == []


def script(signature: bytes, *, width: int = 64, prefix: str = "# ") -> bytes:
    """A signed script of PowerShell."""
    text = base64.b64encode(signature).decode()
    rows = [prefix + text[at : at + width] for at in range(0, len(text), width)]
    return "\r\n".join(["Write-Host 1", "# SIG # Begin signature block", *rows, "# SIG # End signature block"]).encode()


def pem(signature: bytes) -> bytes:
    return b"-----BEGIN PKCS7-----\n" + base64.encodebytes(signature) + b"-----END PKCS7-----\n"


@pytest.mark.parametrize(
    "around",
    [
        lambda signature: b"MSCF" + bytes(500) + signature,
        lambda signature: bytes((1 << 20) - 3) + signature + bytes(70_000),
        lambda signature: bytes((1 << 20) - 10) + signature,
        script,
        pem,
        lambda signature: b"text\n" + base64.b64encode(signature) + b"\n",
    ],
    ids=["package", "in the middle", "across blocks", "script", "text", "one line"],
)
def test_signature_in_a_format_that_nobody_here_reads_is_found(world, around):
    """Whoever has the key can sign what this service cannot."""
    view, _, _ = world.sign("cms", SOURCES["cms"])
    (found,) = found_in(world, around(view))
    assert found.proof is Proof.MADE
    assert found.value_sha256 == sha256_hex(signature_value("cms", view))


@pytest.mark.parametrize("sign", ["", "# ", "//", "// ", "' ", "; ", "<!-- "])
@pytest.mark.parametrize("before", ["", "MIT", "MIIWord"])
def test_lines_that_begin_like_a_comment_or_a_beginning_are_lines(sign, before):
    """``//`` is a comment sign and two digits of base64, MI a word and the beginning of a structure."""
    inner = bytes.fromhex("06092a864886f70d010702") + b"\xff" * 150 + base64.b64decode("AMII") * 99
    structure = b"\x30\x82" + len(inner).to_bytes(2, "big") + inner
    for width in (4, 60, 64, 76):
        text = base64.b64encode(structure).decode()
        rows = [text[at : at + width] for at in range(0, len(text), width)]
        content = "\n".join([f"{sign}{row}" for row in [*filter(None, [before]), *rows]] + ["end of it"]).encode()
        assert list(structures_in(BytesView(content))) == [structure], (sign, before, width)


def test_file_full_of_signatures_is_named(world):
    view, _, _ = world.sign("cms", SOURCES["cms"])
    with pytest.raises(FormatError, match="more than"):
        found_in(world, bytes(100) + view * 257)


@pytest.mark.parametrize("line", [b" " * (3 << 20), b"\n" * (3 << 20), b"# \t" * (1 << 20), b"MI" * (1 << 20) + b"!"])
def test_text_that_is_made_to_be_slow_is_not(world, line):
    began = time.process_time()
    assert found_in(world, b"MI\n" + line) == []
    assert time.process_time() - began < 20


def test_what_only_mentions_signatures_is_passed_over(world):
    mark = bytes.fromhex("06092a864886f70d010702")
    assert found_in(world, bytes(100) + mark + bytes(50) + b"\x30\x10" + mark + bytes(50)) == []


def test_unsigned_files_have_no_signatures(world):
    assert found_in(world, SOURCES["pe"]) == []
    assert found_in(world, b"") == []
    assert found_in(world, b"text") == []


def test_a_signature_that_is_cut_off_anywhere_is_refused_and_never_passed_over(world):
    """From the point on where it says what it is."""
    view, _, _ = world.sign("cms", SOURCES["cms"])
    for end in range(20, len(view)):
        with pytest.raises(FormatError):
            found_in(world, view[:end])


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 1 << 20), bit=st.integers(0, 7), kind=st.sampled_from(["pe", "cms"]))
def test_flipped_bits_never_make_a_signature_of_another_key(world, at, bit, kind):
    view, _, _ = world.sign(kind, SOURCES[kind])
    content = bytearray(view)
    content[at % len(content)] ^= 1 << bit
    try:
        found = found_in(world, bytes(content))
    except SignwrightError:
        return
    made = [row for row in found if row.proof is Proof.MADE]
    stamping = public_bytes(world.pki.timestamping().key)  # in a broken file its token is found by itself
    assert {row.key for row in made} <= {sha256_hex(world.identity.public_key), sha256_hex(stamping)}


def test_a_certificate_whose_key_does_not_parse_is_refused_and_not_a_crash(world):
    view, _, _ = world.sign("cms", SOURCES["cms"])
    spki = view.find(world.identity.public_key)
    with pytest.raises(FormatError):
        found_in(world, view[:spki] + b"\x32" + view[spki + 1 :])


@given(st.binary(max_size=200))
def test_noise_behind_the_mark_of_a_signature_is_an_error_of_the_right_kind(noise):
    content = b"\x30\x82\x01\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02" + noise
    with pytest.raises(FormatError):
        list(signatures_in("file", BytesView(content), Look(lambda _value, _token: None)))


def test_the_member_that_is_a_package_s_signature_names_it_whatever_became_of_the_package(world):
    (found,) = found_in(world, signed_msix())
    with zipfile.ZipFile(io.BytesIO(signed_msix())) as archive:
        member = archive.read("AppxSignature.p7x")
    (inside,) = found_in(world, member)
    assert (inside.value_sha256, inside.key) == (found.value_sha256, found.key)
    assert inside.proof is found.proof is Proof.MADE
