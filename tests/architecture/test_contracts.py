# SPDX-License-Identifier: Apache-2.0
"""The import contracts of ``pyproject.toml`` hold, and each of them would notice a breach."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.source_tree import ROOT, closure, imports_of, modules, modules_below

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]

BREACHES = {
    "Imports go downwards": ("model/digest.py", "signwright.formats.base"),
    "Nobody imports the keyholder": ("signer/gate/__init__.py", "signwright.signer.keyholder"),
    "The signer's processes": ("signer/worker/__init__.py", "signwright.signer.gate"),
    "The keyholder knows": ("signer/keyholder/__init__.py", "signwright.readers.base"),
    "The user's side": ("client/__init__.py", "signwright.hub"),
    "Readers share nothing": ("readers/base.py", "signwright.envelopes.base"),
    "Pure knowledge": ("policy/__init__.py", "sqlite3"),
    "The gate never reads YAML": ("signer/gate/__init__.py", "yaml"),
}


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the tree below ``root``; no cache, so that runs do not meet."""
    program = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "COLUMNS": "300", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [program, "--no-cache"], cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_import_contracts_hold():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_contract_has_a_planted_breach():
    names = [contract["name"] for contract in CONTRACTS]
    assert len(names) == len(BREACHES)
    for start in BREACHES:
        assert [name for name in names if name.startswith(start)], start


def test_every_contract_notices_its_breach(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for path, module in BREACHES.values():
        with (tmp_path / "src/signwright" / path).open("a", encoding="utf-8") as file:
            file.write(f"\nimport {module}\n")
    result = lint_imports(tmp_path)
    lines = result.stdout.splitlines()
    for start in BREACHES:
        (verdict,) = [line for line in lines if line.startswith(start) and re.search(r" (KEPT|BROKEN)\b", line)]
        assert " BROKEN" in verdict, result.stdout


def registered_formats() -> set[str]:
    """The modules that the registry names: each is one format."""
    registry = "signwright.formats.registry"
    if registry not in modules():
        pytest.fail("formats/registry.py, the visible table of formats, is missing")
    named = {found.name for found in imports_of(registry)} & set(modules_below("formats"))
    return named - {"signwright.formats", "signwright.formats.base"}


def test_formats_do_not_import_each_other():
    formats = registered_formats()
    assert formats
    found = [f"{name} reaches {other}" for name in formats for other in closure([name], lazy=True) & formats - {name}]
    assert not found, "\n".join(found)
