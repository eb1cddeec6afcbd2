# SPDX-License-Identifier: Apache-2.0
"""Content that must be seen to be signed safely: a hostile gate hands over none, another, or one of another purpose."""

from __future__ import annotations

import hashlib
import tracemalloc
from typing import Any

import pytest

from signwright.envelopes.templates import TEMPLATES
from signwright.errors import LimitError, MalformedError
from signwright.model.operation import Operation
from signwright.statements.models import RequestedArtifact
from tests.attacks.keyholder.test_hostile_gate import Keyholder, honest, keyholder

__all__ = ["keyholder"]

DIGEST = b"SHA-256-Digest%b: " + b"A" * 43 + b"=\r\n"
HEAD = b"Signature-Version: 1.0\r\n" + DIGEST % b"-Manifest"
SIGNATURE_FILE = HEAD + b"\r\nName: a/B.class\r\n" + DIGEST % b"" + b"\r\n"


def operation(content: bytes) -> Operation:
    return Operation(template="jar", digest="sha256:" + hashlib.sha256(content).hexdigest())


def ordered(held: Keyholder, content: bytes, *contents: bytes) -> dict[str, Any]:
    """The answer to an order for ``content``, approved as such, that ``contents`` came along with."""
    artifact = RequestedArtifact(size=8, format="jar", operations=(operation(content),))
    request = held.signer.world.request(files={"a.jar": b"artifact"}, artifacts=[artifact])
    return held.ask(*honest(held.signer, request=request, contents=contents))[0]


def test_content_that_was_seen_is_signed(keyholder: Keyholder) -> None:
    assert ordered(keyholder, SIGNATURE_FILE, SIGNATURE_FILE)["ok"] is True
    assert keyholder.operations == 1


@pytest.mark.parametrize(
    ("content", "contents", "code"),
    [
        (SIGNATURE_FILE, (), "wrong-content"),
        (SIGNATURE_FILE, (HEAD + b"\r\n",), "wrong-content"),
        (SIGNATURE_FILE, (SIGNATURE_FILE, SIGNATURE_FILE), "wrong-content"),
        (b"any file", (b"any file",), "other-purpose"),
        (b"", (b"",), "other-purpose"),
    ],
    ids=["none", "another", "one-more", "a-file", "nothing"],
)
def test_content_that_was_not_seen_gets_no_key(
    keyholder: Keyholder, content: bytes, contents: tuple[bytes, ...], code: str
) -> None:
    answer = ordered(keyholder, content, *contents)
    assert (answer["ok"], answer["code"]) == (False, code)
    assert keyholder.operations == 0


def test_content_beside_an_operation_that_needs_none_is_refused(keyholder: Keyholder) -> None:
    answer = keyholder.ask(*honest(keyholder.signer, contents=(b"artifact",)))[0]
    assert (answer["ok"], answer["code"]) == (False, "wrong-content")
    assert keyholder.operations == 0


@pytest.mark.parametrize(
    "content",
    [
        SIGNATURE_FILE[:-2],
        SIGNATURE_FILE[:-4],
        SIGNATURE_FILE.replace(b"\r\n", b"\n"),
        SIGNATURE_FILE.replace(b"1.0", b"2.0"),
        b"\r\n" + SIGNATURE_FILE,
        b" " + SIGNATURE_FILE,
        SIGNATURE_FILE.replace(b"Signature-Version: 1.0\r\n", b""),
        b"Signature-Version: 1.0\r\n\r\n",
        b"Signature-Version: 1.0\r\n\r\nName: a\r\n" + DIGEST % b"" + b"\r\n",
        HEAD + b"X-Android-APK-Signed: 2\r\n\r\n",
        HEAD + b"\r\nName: a\r\n\r\n",
        HEAD + b"\r\n" + DIGEST % b"" + b"\r\n",
        HEAD + b"\r\nName: a\r\nMagic: b\r\n\r\n",
        HEAD + b"\r\nName: a\x00b\r\n" + DIGEST % b"" + b"\r\n",
        HEAD + b"\r\nName: " + b"a" * 65 + b"\r\n" + DIGEST % b"" + b"\r\n",
        HEAD + b"\r\n\r\nName: a\r\n" + DIGEST % b"" + b"\r\n",
        b"\x30\x82" + SIGNATURE_FILE,
        SIGNATURE_FILE + b"anything\r\n\r\n",
        SIGNATURE_FILE + b"\r\n",
    ],
)
def test_what_is_no_signature_file_is_not_of_the_purpose(content: bytes) -> None:
    check = TEMPLATES["jar"].check_content
    assert check is not None
    check(operation(SIGNATURE_FILE), SIGNATURE_FILE)
    with pytest.raises(MalformedError) as refusal:
        check(operation(content), content)
    assert refusal.value.code == "other-purpose"


def test_continued_lines_of_72_bytes_are_read() -> None:
    check = TEMPLATES["jar"].check_content
    assert check is not None
    name = b"Name: " + b"a" * 64 + b"\r\n " + b"b" * 69 + b"\r\n " + "ü".encode() + b"\r\n"
    content = HEAD + b"\r\n" + name + DIGEST % b"" + b"\r\n"
    check(operation(content), content)


@pytest.mark.parametrize(
    ("template", "content"),
    [
        ("authenticode-pe-pages", b"\x05\x00" * (2 << 20)),
        ("authenticode-pe-pages", b"\x30\x80" + bytes(1 << 20)),
        ("authenticode-catalog", b"\x05\x00" * 5000),
        ("jar", b"\r\n" * (4 << 20)),
        ("jar", HEAD + b"\r\nName: a\r\n" + b" a\r\n" * 70_000 + DIGEST % b"" + b"\r\n"),
        ("jar", HEAD + b"\r\nName: a\r\n" + (DIGEST % b"") * 20 + b"\r\n"),
    ],
    ids=["elements", "large", "catalog", "empty-lines", "long-name", "attributes"],
)
def test_content_that_is_made_to_be_expensive_is_refused_before_it_costs_much(template: str, content: bytes) -> None:
    """A worker that an artifact has taken over hands it over: the gate must go on, with the memory it has."""
    check = TEMPLATES[template].check_content
    assert check is not None
    tracemalloc.start()
    try:
        with pytest.raises((MalformedError, LimitError)):
            check(Operation(template=template, digest="sha256:" + "00" * 32), content)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_more_content_than_one_request_may_have_is_refused(keyholder: Keyholder) -> None:
    large = SIGNATURE_FILE + b"x" * (16 << 20)
    answer = ordered(keyholder, large, large)
    assert (answer["ok"], answer["code"]) == (False, "too-large")
    assert keyholder.operations == 0
