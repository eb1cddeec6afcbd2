# SPDX-License-Identifier: Apache-2.0
"""Version strings: read exactly, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.formats.pe_layout import read_layout
from signwright.formats.pe_version import version_facts
from signwright.model.view import BytesView
from tests.support.pe_builder import Pe, fixed_info, resource_tree, string_table, version_node, version_resource

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
        "fixed_file_version": "1.0.0.0",
        "fixed_product_version": "1.0.0.0",
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


@pytest.mark.parametrize(
    "keys",
    [
        ("ProductName", "productname"),
        ("ProductName", "PRODUCTNAME"),
        ("PRODUCTname", "productNAME"),
        ("Comments", "comments"),
        ("K", "\N{KELVIN SIGN}"),
        ("i", "\N{LATIN SMALL LETTER DOTLESS I}"),
    ],
    ids=ascii,
)
def test_key_that_windows_finds_for_another_makes_all_unreadable(keys):
    assert facts(version_resource({"CompanyName": "Good", **dict.fromkeys(keys, "x")})) == UNREADABLE


def test_key_is_found_whatever_its_case():
    assert facts(version_resource({"PRODUCTname": "Evil"}))["product_name"] == "Evil"
    assert facts(version_resource({"COMMENTS": "a", "x": "b"})).keys() == {
        "fixed_file_version",
        "fixed_product_version",
    }


def test_key_of_other_letters_that_fold_to_a_known_one_is_not_guessed_at():
    assert facts(version_resource({"FileVer\N{LATIN SMALL LETTER LONG S}ion": "1"})) == UNREADABLE


def info_of(
    *tables: bytes, fixed: bytes = fixed_info((1, 2, 3, 4), (5, 6, 7, 8)), key: str = "StringFileInfo"
) -> bytes:
    return version_node(
        "VS_VERSION_INFO", fixed, len(fixed), 0, b"".join(version_node(key, b"", 0, 1, table) for table in tables)
    )


GOOD, EVIL = string_table({"ProductName": "Good"}), string_table({"ProductName": "Evil"}, "040704b0")


def test_numbers_and_strings_of_a_version_are_facts_of_their_own():
    found = facts(resource_tree({(1, 0): info_of(string_table({"FileVersion": "9.9", "ProductVersion": "8.8"}))}))
    assert found == {
        "file_version": "9.9",
        "product_version": "8.8",
        "fixed_file_version": "1.2.3.4",
        "fixed_product_version": "5.6.7.8",
    }


def test_resource_without_the_numbers_has_the_strings_only():
    assert facts(resource_tree({(1, 0): info_of(GOOD, fixed=b"")})) == {"product_name": "Good"}


def test_table_is_found_whatever_the_case_of_its_name():
    assert facts(resource_tree({(1, 0): info_of(GOOD, key="STRINGFILEINFO")}))["product_name"] == "Good"


@pytest.mark.parametrize(
    "resource",
    [
        pytest.param({(1, 0x409): info_of(GOOD), (1, 0x407): info_of(EVIL)}, id="two-languages"),
        pytest.param({(1, 0x409): info_of(GOOD), (2, 0x409): info_of(EVIL)}, id="two-numbers"),
        pytest.param({(2, 0x409): info_of(GOOD)}, id="another-number"),
        pytest.param({(1, 0x409): info_of(GOOD + EVIL)}, id="two-tables"),
        pytest.param({(1, 0x409): info_of(GOOD, EVIL)}, id="two-blocks-of-tables"),
        pytest.param({(1, 0x409): info_of(GOOD, fixed=bytes(52))}, id="numbers-without-their-mark"),
        pytest.param({(1, 0x409): info_of(GOOD, fixed=fixed_info((1,) * 4, (1,) * 4)[:48])}, id="numbers-cut-short"),
        pytest.param({(1, 0x80000000): info_of(GOOD)}, id="language-with-a-name"),
        pytest.param({(1, 0x409): info_of(GOOD, key="\N{LATIN SMALL LETTER LONG S}tringFileInfo")}, id="other-letters"),
        pytest.param({(1, 0x409): version_node("VERSION", b"", 0, 0, GOOD)}, id="another-structure"),
    ],
)
def test_what_windows_may_read_in_another_way_is_unreadable(resource):
    assert facts(resource_tree(resource)) == UNREADABLE


@pytest.mark.parametrize("size", [0, 3])
def test_string_that_is_longer_than_it_says_is_unreadable(size):
    node = version_node("ProductName", "Good".encode("utf-16-le") + b"\0\0", size, 1)
    assert facts(resource_tree({(1, 0): info_of(version_node("040904b0", b"", 0, 1, node))})) == UNREADABLE


def test_directory_that_bisecting_reads_differently_is_unreadable():
    """A second entry of type 16, or one out of order: which of them is found depends on who looks."""
    tree = bytearray(resource_tree({(1, 0): info_of(GOOD)}))
    tree[14:16] = (2).to_bytes(2, "little")  # the next directory's first bytes are read as an entry: number 0
    assert facts(bytes(tree)) == UNREADABLE


def test_section_that_the_loader_reads_from_elsewhere_is_unreadable():
    pe = Pe(resource=version_resource(STRINGS), gap=b"moved by seven".ljust(7))
    view = BytesView(pe.build())
    assert dict(version_facts(view, read_layout(view))) == UNREADABLE


def test_every_truncation_of_the_resource_is_unreadable_or_absent():
    resource = version_resource(STRINGS)
    view = BytesView(Pe(resource=resource).build())
    layout = read_layout(view)
    whole = version_facts(view, layout)
    for size in range(0, len(resource), 3):
        found = version_facts(BytesView(Pe(resource=resource[:size]).build()), layout)
        assert found == UNREADABLE or found.items() <= whole.items()


@given(st.integers(0, 500), st.binary(min_size=1, max_size=6))
def test_junk_in_the_resource_never_raises(at, junk):
    resource = version_resource(STRINGS)
    facts(resource[:at] + junk + resource[at + len(junk) :])


def test_a_tree_that_points_at_itself_ends():
    resource = bytearray(version_resource(STRINGS))
    resource[20:24] = (0x80000000).to_bytes(4, "little")  # the type's entry leads back to the root
    assert facts(bytes(resource)) == UNREADABLE
