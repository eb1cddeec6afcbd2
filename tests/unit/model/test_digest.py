# SPDX-License-Identifier: Apache-2.0
"""A digest has one text, and an algorithm that may sign."""

from __future__ import annotations

import pytest

from signwright.errors import MalformedError
from signwright.model.digest import Digest


@pytest.mark.parametrize(("algorithm", "length"), [("sha256", 32), ("sha384", 48), ("sha512", 64)])
def test_digest_is_read_and_written(algorithm: str, length: int) -> None:
    text = f"{algorithm}:{'ab' * length}"
    assert str(Digest.parse(text)) == text
    assert Digest.parse(text) == Digest(algorithm, b"\xab" * length)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "ab" * 32,
        "sha1:" + "ab" * 20,
        "sha256:" + "ab" * 31,
        "sha256:" + "ab" * 33,
        "sha256:" + "AB" * 32,
        "sha256:" + "ab" * 31 + " a",
        "sha256:" + "ab" * 32 + "\n",
        "sha512:" + "ab" * 32,
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as refused:
        Digest.parse(text)
    assert refused.value.code == "bad-digest"
    assert "wanted sha256" in refused.value.message


@pytest.mark.parametrize(("algorithm", "length"), [("sha1", 20), ("md5", 16), ("sha256", 31), ("sha512", 32), ("", 0)])
def test_weak_or_misshapen_digest_is_not_made(algorithm: str, length: int) -> None:
    with pytest.raises(MalformedError):
        Digest(algorithm, bytes(length))
