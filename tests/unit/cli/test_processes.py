# SPDX-License-Identifier: Apache-2.0
"""How our own programs are started."""

from __future__ import annotations

from pathlib import Path

import pytest

from signwright.cli.home import Home, HomeFile
from signwright.cli.processes import PROCESSES, command_of, run_helper


@pytest.mark.parametrize("module", ["structlog.py", "signwright/__init__.py"])
def test_nothing_is_imported_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str):
    """The programs that make keys are started wherever the user stands: it may be a stranger's checkout."""
    planted, seen = tmp_path / module, tmp_path / "seen"
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(f"open({str(seen)!r}, 'w')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert "usage" in run_helper("signwright.witness", ["--help"])
    assert not seen.exists()


def test_no_process_of_a_home_imports_from_the_working_folder(tmp_path: Path):
    described = HomeFile(
        organisation="o", url="http://127.0.0.1:1", trial=True, release_store="software", policy_root_sha256="0" * 64
    )
    for process in PROCESSES:
        assert command_of(process, Home(tmp_path), described)[1:3] == ["-P", "-m"]
