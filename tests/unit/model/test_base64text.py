# SPDX-License-Identifier: Apache-2.0
"""One text for one value."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import MalformedError
from signwright.model.base64text import strict_base64


@given(st.binary(max_size=200))
def test_what_was_written_is_read_and_no_other_text_gives_the_same(value: bytes) -> None:
    text = base64.b64encode(value).decode()
    assert strict_base64(text) == value
    for end in range(len(text)):
        with suppress(MalformedError):
            assert strict_base64(text[:end]) != value


@pytest.mark.parametrize("text", ["QQ", "QQ=", "QR==", "Q Q==", "QQ==\n", "QQ==QQ==", "QQ-_", "é", "====", "QQ==="])
def test_other_forms_are_refused_and_named(text: str) -> None:
    with pytest.raises(MalformedError) as found:
        strict_base64(text, "verifier key")
    assert found.value.message.startswith("verifier key: not base64: ")
    with pytest.raises(MalformedError) as bare:
        strict_base64(text)
    assert bare.value.message == "not base64"  # what is secret is not repeated
