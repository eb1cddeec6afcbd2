# SPDX-License-Identifier: Apache-2.0
"""Where DER is stricter than what ASN.1 libraries read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.timestamps.der import DerError, check_der, contents_of, is_sorted, split, wrap


@pytest.mark.parametrize(
    "encoded",
    [
        "3080 0000",  # indefinite length
        "308103 020101",  # length not minimal
        "30820003 020101",
        "30 03 0201",  # cut off
        "30 02 020101",  # bytes after the structure
        "02 02 0001",  # integer not minimal
        "02 02 ff80",
        "02 00",
        "01 01 01",  # TRUE is ff
        "03 02 04 ff",  # padding bits set
        "03 01 01",
        "03 00",
        "24 03 040161",  # constructed string
        "10 00",  # primitive sequence
        "05 01 00",
        "06 01 80",  # arc with a leading zero
        "06 02 2a 80",
        "17 0b 3131313131313131313130",  # UTCTime without Z
        "18 0f 32303236313132313039333030302b",
        "18 12 3230323631313231303933303030 2e 3130 5a",  # a fraction that ends in 0
        "1f 81 00 00",  # a high tag number
        "00 00",
        "07 01 61",  # types that nothing here has
        "09 01 40",
    ],
)
def test_what_is_not_distinguished_is_refused(encoded: str) -> None:
    with pytest.raises(DerError):
        check_der(bytes.fromhex(encoded))


@pytest.mark.parametrize(
    "encoded", ["0500", "0101ff", "02020080", "0201ff", "0203ff7fff", "03020470", "06032a0348", "3000", "a003020101"]
)
def test_what_is_distinguished_passes(encoded: str) -> None:
    check_der(bytes.fromhex(encoded))


def test_deep_nesting_is_refused() -> None:
    nested = b""
    for _ in range(100):
        nested = wrap(0x30, nested)
    with pytest.raises(DerError, match="levels"):
        check_der(nested)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_pass_or_raise_the_one_error(encoded: bytes) -> None:
    try:
        check_der(encoded)
    except DerError:
        return
    assert contents_of(encoded) is not None


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_what_is_wrapped_can_be_split(values: list[bytes]) -> None:
    elements = [wrap(0x04, value) for value in values]
    whole = wrap(0x30, b"".join(elements))
    check_der(whole)
    assert split(contents_of(whole)) == elements
    assert is_sorted(sorted(elements))
