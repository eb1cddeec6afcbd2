# SPDX-License-Identifier: Apache-2.0
"""What verbs print cannot steer the terminal of whoever reads it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from signwright.cli.console import harmless, say
from signwright.model.text import first_bad_character


def test_escapes_line_breaks_and_direction_overrides_are_shown_not_obeyed(capsys):
    say("version \x1b[2J\r\nsignwright: scan clean \u202egpj.exe")
    assert capsys.readouterr().err == "signwright: version ?[2J??signwright: scan clean ?gpj.exe\n"


@given(st.text())
def test_every_text_becomes_one_harmless_line(text):
    assert first_bad_character(harmless(text)) is None
    assert len(harmless(text)) == len(text)
