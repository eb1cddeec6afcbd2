# SPDX-License-Identifier: Apache-2.0
"""A stranger's checkout may name a trust file; nobody believes it without being told."""

from __future__ import annotations

from pathlib import Path

import pytest

from signwright.cli.settings import PROJECT_FILE, trust_path


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SIGNWRIGHT_TRUST", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def test_trust_file_named_by_a_checkout_is_told(capsys, tmp_path):
    (tmp_path / PROJECT_FILE).write_text('trust = "theirs.json"\n', encoding="utf-8")
    assert trust_path(None) == tmp_path / "theirs.json"
    assert f"warning: the trust file is named by {tmp_path / PROJECT_FILE}" in capsys.readouterr().err


def test_own_trust_file_wins_and_needs_no_warning(capsys, monkeypatch, tmp_path):
    (tmp_path / PROJECT_FILE).write_text('trust = "theirs.json"\n', encoding="utf-8")
    assert trust_path(tmp_path / "mine.json") == tmp_path / "mine.json"
    monkeypatch.setenv("SIGNWRIGHT_TRUST", str(tmp_path / "also-mine.json"))
    assert trust_path(None) == tmp_path / "also-mine.json"
    assert capsys.readouterr().err == ""
