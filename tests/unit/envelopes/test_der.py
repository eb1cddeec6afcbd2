# SPDX-License-Identifier: Apache-2.0
"""The DER writer gives what other libraries read and write, and the reader takes nothing but DER."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from asn1crypto import cms as asn1_cms
from asn1crypto import core
from hypothesis import given
from hypothesis import strategies as st

from signwright.envelopes import der
from signwright.errors import MalformedError
from tests.support.pki import default_pki

CERTIFICATE = default_pki().code_signing("p256").certificate


@given(value=st.integers(min_value=-(1 << 200), max_value=1 << 200))
def test_integers_are_those_of_another_writer(value: int) -> None:
    assert der.integer(value) == core.Integer(value).dump()


@given(content=st.integers(min_value=0, max_value=70_000))
def test_lengths_are_those_of_another_writer(content: int) -> None:
    assert der.octet_string(bytes(content)) == core.OctetString(bytes(content)).dump()


@given(arcs=st.lists(st.integers(min_value=0, max_value=1 << 40), min_size=1, max_size=8), first=st.integers(0, 2))
def test_object_identifiers_are_those_of_another_writer(arcs: list[int], first: int) -> None:
    arcs[0] %= 40
    dotted = ".".join(str(arc) for arc in (first, *arcs))
    assert der.oid(dotted) == core.ObjectIdentifier(dotted).dump()


@given(moment=st.datetimes(min_value=datetime(1950, 1, 1), max_value=datetime(9999, 12, 31)))  # noqa: DTZ001 - zone below
def test_times_are_those_of_rfc_5652(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    written = der.time(moment)
    assert written[0] == (0x17 if moment.year < 2050 else 0x18)
    assert asn1_cms.Time.load(written).native == moment.replace(microsecond=0)


def test_time_of_another_zone_is_written_in_utc() -> None:
    noon = datetime(2026, 11, 21, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    assert der.time(noon) == b"\x17\x0d261121100000Z"


def test_time_without_a_zone_is_refused() -> None:
    with pytest.raises(MalformedError):
        der.time(datetime(2026, 11, 21))  # noqa: DTZ001 - what is tested


@given(parts=st.lists(st.binary(max_size=40), max_size=12))
def test_set_of_is_sorted_as_another_writer_sorts_it(parts: list[bytes]) -> None:
    class Octets(core.SetOf):  # type: ignore[misc]
        _child_spec = core.OctetString

    assert der.set_of([der.octet_string(p) for p in parts]) == Octets(parts).dump(force=True)


@given(parts=st.lists(st.binary(min_size=1, max_size=300), max_size=6))
def test_what_is_written_is_read_again(parts: list[bytes]) -> None:
    encoding = der.sequence(*(der.octet_string(p) for p in parts))
    found = der.read_all(der.read_one(encoding, der.SEQUENCE).content)
    assert [element.content for element in found] == parts
    assert der.sequence(*(element.encoded for element in found)) == encoding


@pytest.mark.parametrize(
    "encoding",
    [
        b"",
        b"\x04",
        b"\x04\x01",
        b"\x30\x80\x00\x00",  # indefinite
        b"\x04\x81\x01a",  # length longer than needed
        b"\x04\x82\x00\x80" + bytes(128),
        b"\x04\x85\x00\x00\x00\x00\x01a",
        b"\x04\xff",
        b"\x1f\x81\x01\x00",  # tag of several octets
        b"\x1f\x01a",
    ],
)
def test_other_encodings_than_der_are_refused(encoding: bytes) -> None:
    with pytest.raises(MalformedError):
        der.read_element(encoding)


@given(end=st.integers(min_value=0, max_value=len(CERTIFICATE) - 1))
def test_truncated_certificate_is_refused(end: int) -> None:
    with pytest.raises(MalformedError):
        der.split_certificate(CERTIFICATE[:end])


@given(at=st.integers(min_value=0, max_value=len(CERTIFICATE) - 1), bit=st.integers(0, 7))
def test_flipped_certificate_splits_or_is_refused(at: int, bit: int) -> None:
    flipped = bytearray(CERTIFICATE)
    flipped[at] ^= 1 << bit
    try:
        parts = der.split_certificate(bytes(flipped))
    except MalformedError:
        return
    assert parts.issuer[:1] == b"\x30"
    assert parts.serial[:1] == b"\x02"


def test_bytes_behind_a_certificate_are_refused() -> None:
    with pytest.raises(MalformedError):
        der.split_certificate(CERTIFICATE + b"\x00")


@pytest.mark.parametrize("text", ["a\U0001f600", "\U00010000"])
def test_bmp_string_has_no_characters_above_its_plane(text: str) -> None:
    with pytest.raises(MalformedError):
        der.bmp_content(text)


@pytest.mark.parametrize("change", ["one part", "a fourth part", "no part"])
def test_certificate_has_three_parts(change: str) -> None:
    parts = [part.encoded for part in der.read_all(der.read_one(CERTIFICATE, der.SEQUENCE).content)]
    wrong = {"one part": parts[:1], "a fourth part": [*parts, parts[1]], "no part": []}[change]
    with pytest.raises(MalformedError, match=r"not an X\.509 certificate"):
        der.split_certificate(der.sequence(*wrong))
