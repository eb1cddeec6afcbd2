# SPDX-License-Identifier: Apache-2.0
"""What a unit starts: only the signer's own environment is imported from, and only modules of the signer run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from signwright.signer import boot

REPORT = """
import json, sys
print(json.dumps({"arguments": sys.argv, "path": sys.path, "site": "site" in sys.modules, "name": __name__}))
"""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A signer's environment as ``install`` makes it, with one small module instead of the gate."""
    folder = tmp_path / "signer"
    venv.create(folder, with_pip=False, symlinks=True)
    inside = packages(folder) / "signwright" / "signer"
    inside.mkdir(parents=True)
    for path in (inside.parent, inside):
        (path / "__init__.py").write_text("", encoding="utf-8")
    (inside / "reporting.py").write_text(REPORT, encoding="utf-8")
    shutil.copy(boot.__file__, folder / "boot.py")
    return folder


def packages(environment: Path) -> Path:
    return environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def start(environment: Path, *words: str, flags: tuple[str, ...] = ("-I", "-S")) -> subprocess.CompletedProcess[str]:
    command = [str(environment / "bin" / "python"), *flags, str(environment / "boot.py"), *words]
    planted = {**os.environ, "PYTHONPATH": str(environment)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=planted, timeout=30)


def test_the_module_runs_with_its_arguments_on_the_environments_path(environment: Path) -> None:
    answer = json.loads(start(environment, "signwright.signer.reporting", "--a", "b c").stdout)
    assert answer["name"] == "__main__"
    assert answer["arguments"][1:] == ["--a", "b c"]
    assert answer["site"] is False
    assert answer["path"][-1] == str(packages(environment))
    assert str(environment) not in answer["path"]


def test_planted_start_up_files_do_not_run(environment: Path) -> None:
    mark = environment / "ran"
    for name in ("sitecustomize.py", "usercustomize.py"):
        (packages(environment) / name).write_text(f"open({str(mark)!r}, 'w')\n", encoding="utf-8")
    (packages(environment) / "evil.pth").write_text(f"import sys; open({str(mark)!r}, 'w')\n", encoding="utf-8")
    assert start(environment, "signwright.signer.reporting").returncode == 0
    assert not mark.exists()


@pytest.mark.parametrize("words", [(), ("os",), ("signwright.hub",), ("signwright.signerx",)])
def test_other_modules_are_refused(environment: Path, words: tuple[str, ...]) -> None:
    done = start(environment, *words)
    assert done.returncode == 1
    assert "wanted the name of a module of the signer" in done.stderr


def test_an_interpreter_that_is_not_isolated_is_refused(environment: Path) -> None:
    done = start(environment, "signwright.signer.reporting", flags=())
    assert (done.returncode, "not started isolated" in done.stderr) == (1, True)


def test_an_environment_without_signwright_is_refused(environment: Path) -> None:
    shutil.rmtree(packages(environment) / "signwright")
    done = start(environment, "signwright.signer.reporting")
    assert (done.returncode, "has no signwright" in done.stderr) == (1, True)
