# SPDX-License-Identifier: Apache-2.0
"""Facts about an installer: its kind, and what its summary information says."""

from __future__ import annotations

import pytest

from signwright.formats.msi import MsiFormat
from signwright.model.view import BytesView
from tests.support.cfb_builder import Cfb
from tests.support.msi_builder import CABINET, SHAPES, SUMMARY, prepare, sign, summary, wixl_installer


def test_facts_say_what_the_file_is():
    assert prepare(SHAPES["version-3"].build()).facts == {
        "title": "Installation Database",
        "subject": "Beispiel für alle",
        "author": "Example Maker",
        "template": "x64;1033",
        "package_code": "{5A6352DB-2ABF-4E3B-8290-35CDD45EB40E}",
        "kind": "installer",
        "embedded_cabinets": 1,
        "unused_bytes": 0,
        "signed_before": False,
    }
    assert prepare(SHAPES["patch"].build()).facts["kind"] == "patch"
    assert prepare(SHAPES["transform"].build()).facts["kind"] == "transform"
    assert prepare(sign(SHAPES["patch"].build()), existing="append").facts["signed_before"] is True


def test_a_genuine_package_is_recognised_with_its_summary():
    facts = prepare(wixl_installer()).facts
    assert MsiFormat().recognizes(BytesView(wixl_installer()))
    assert (facts["subject"], facts["author"], facts["template"]) == ("Example Product", "Example Maker", "Intel;1033")
    assert facts["embedded_cabinets"] == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x" * 20,
        summary({3: "Product"}, identifier="00" * 16),
        summary({3: "a\x1b[31m"}),
        summary({3: "x" * 300}),
        summary({1: 1252, 3: "Product"}).replace(b"\xe4\4\0\0", b"\x63\0\0\0"),
        summary({3: "Product"})[:70],
        summary({3: 7}),
        summary({3: "Product", 4: "Other"}).replace(b"\4\0\0\0", b"\3\0\0\0", 1),
    ],
)
def test_a_summary_that_does_not_read_gives_no_fact_and_no_failure(content):
    assert "subject" not in prepare(Cfb({SUMMARY: content, "cab": CABINET}).build()).facts


def test_summaries_in_utf_8_and_other_code_pages_are_read():
    for page, text in ((65001, "Größe ✓"), (932, "インストーラ"), (1251, "Пример")):
        assert prepare(Cfb({SUMMARY: summary({1: page, 3: text})}).build()).facts["subject"] == text
