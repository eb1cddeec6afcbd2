# SPDX-License-Identifier: Apache-2.0
"""VBScript, JScript and WSF: how their blocks look and where they stand."""

from __future__ import annotations

import pytest

from tests.support.script_vectors import GOOD, sign


@pytest.mark.parametrize(("family", "comment"), [("vbscript", b"''"), ("jscript", b"//")])
def test_lines_are_those_of_windows(family, comment):
    source = GOOD[family]["plain"]
    signed = sign(family, source)
    assert signed.startswith(source + b"\r\n" + comment + b" SIG " + comment + b" Begin signature block\r\n")
    assert signed.endswith(b"\r\n" + comment + b" SIG " + comment + b" End signature block\r\n")
    lines = signed[len(source) :].split(b"\r\n")[2:-2]
    assert {len(line) for line in lines[:-1]} == {10 + 44}


def test_a_windows_script_file_keeps_its_end_behind_the_signature():
    signed = sign("wsf", GOOD["wsf"]["package"])
    before, _, behind = signed.partition(b"\r\n<signature>\r\n** SIG ** MII")
    assert before.endswith(b'<job id="two">\r\n  ')
    assert behind.endswith(b"\r\n</signature>\r\n</job>\r\n</package>\r\n")


def test_a_wide_script_gets_a_wide_block():
    signed = sign("vbscript", GOOD["vbscript"]["utf16-mark"])
    assert "\r\n'' SIG '' End signature block\r\n" in signed.decode("utf-16")
