# SPDX-License-Identifier: Apache-2.0
"""Certificate tables and nested signatures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.envelopes import der
from signwright.errors import FormatError
from signwright.formats.authenticode import MAX_ENTRIES, check_envelope, nest, read_certificates, write_certificates
from signwright.formats.pe import PeFormat, PeOptions
from signwright.model.view import BytesView
from signwright.readers import cms
from tests.support.pe_builder import PE32, envelope_for, identity


def envelope(token: bytes | None = None) -> bytes:
    return envelope_for(PeFormat().prepare(BytesView(PE32.build()), (), PeOptions()), identity(), token)


def test_a_table_reads_back_as_it_was_written():
    first, second = envelope(), envelope(der.sequence(der.integer(1)))
    table = write_certificates([first, second])
    assert len(table) % 8 == 0
    assert read_certificates(table, 0) == [first, second]


def test_a_table_with_too_many_entries_is_refused():
    small = bytes.fromhex("300d06092a864886f70d010702a000")
    assert len(read_certificates(write_certificates([small] * MAX_ENTRIES), 0)) == MAX_ENTRIES
    with pytest.raises(FormatError, match="more than 64"):
        read_certificates(write_certificates([small] * (MAX_ENTRIES + 1)), 0)


def test_nesting_keeps_the_timestamp_and_adds_a_value():
    token = der.sequence(der.integer(7))
    added = [envelope(der.sequence(der.integer(n))) for n in range(3)]
    outer = envelope(token)
    for inner in added:
        outer = nest(outer, inner)
    signer = cms.parse(outer).only_signer
    assert signer.timestamp_token == token
    assert sorted(signer.nested) == sorted(added)
    assert check_envelope(outer) == outer


def test_a_signature_that_cannot_be_read_takes_no_other():
    for broken in (b"", b"\x30\x00", bytes.fromhex("300d06092a864886f70d010702a000"), envelope()[:-1]):
        with pytest.raises(FormatError):
            nest(broken, envelope())


@given(st.integers(0, 4000), st.binary(min_size=1, max_size=3))
def test_junk_in_a_signature_is_a_format_error_at_worst(at, junk):
    good = envelope()
    bent = good[:at] + junk + good[at + len(junk) :]
    try:
        nest(bent, good)
        read_certificates(write_certificates([bent]), 0)
    except FormatError:
        pass


def test_every_truncation_of_a_table_is_refused():
    table = write_certificates([envelope()])
    for length in range(1, len(table)):
        with pytest.raises(FormatError):
            read_certificates(table[:length], 0)
