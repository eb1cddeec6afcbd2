# SPDX-License-Identifier: Apache-2.0
"""Version strings: read exactly, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.formats.pe_layout import read_layout
from signwright.formats.pe_version import version_facts
from signwright.model.view import BytesView
from tests.support.pe_builder import Pe, version_resource

STRINGS = {"CompanyName": "Example Ltd", "ProductName": "Größer 9000", "ProductVersion": "1.2.3", "Comments": "none"}
UNREADABLE = {"version_info": "unreadable"}


def facts(resource: bytes) -> dict[str, object]:
    view = BytesView(Pe(resource=resource).build())
    return dict(version_facts(view, read_layout(view)))


def test_the_strings_that_policies_know_are_facts():
    assert facts(version_resource(STRINGS)) == {
        "company_name": "Example Ltd",
        "product_name": "Größer 9000",
        "product_version": "1.2.3",
    }


def test_a_file_without_resources_has_no_version_facts():
    assert facts(b"") == {}


@pytest.mark.parametrize("value", ["a\x1b[2J", "abc\u202egpj.exe", "x" * 513, "zero\u200bwidth"])
def test_a_string_that_must_not_be_shown_makes_all_of_them_unreadable(value):
    assert facts(version_resource({**STRINGS, "ProductName": value})) == UNREADABLE


def test_a_product_name_cannot_be_given_twice():
    twice = version_resource({"ProductName": "Good", "ProductNamf": "Evil"})
    twice = twice.replace("ProductNamf".encode("utf-16-le"), "ProductName".encode("utf-16-le"))
    assert facts(twice) == UNREADABLE


def test_every_truncation_of_the_resource_is_unreadable_or_absent():
    resource = version_resource(STRINGS)
    view = BytesView(Pe(resource=resource).build())
    layout = read_layout(view)
    for size in range(0, len(resource), 3):
        found = version_facts(BytesView(Pe(resource=resource[:size]).build()), layout)
        assert found == UNREADABLE or set(found) <= {"company_name", "product_name", "product_version"}


@given(st.integers(0, 500), st.binary(min_size=1, max_size=6))
def test_junk_in_the_resource_never_raises(at, junk):
    resource = version_resource(STRINGS)
    facts(resource[:at] + junk + resource[at + len(junk) :])


def test_a_tree_that_points_at_itself_ends():
    resource = bytearray(version_resource(STRINGS))
    resource[20:24] = (0x80000000).to_bytes(4, "little")  # the type's entry leads back to the root
    assert facts(bytes(resource)) == UNREADABLE
