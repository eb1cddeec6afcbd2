# SPDX-License-Identifier: Apache-2.0
"""Nothing of the caller's environment runs in a signer process, and nothing is imported that was not named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import signwright
from signwright.errors import ConfigurationError
from signwright.signer.start import ENVIRONMENT_VARIABLE, own_command, signer_command, signer_environment

REPORT = """
import json, os, sys
import signwright
print(json.dumps({"arguments": sys.argv[1:], "path": sys.path, "signwright": signwright.__file__,
                  "name": __name__, "site": "site" in sys.modules, "module": sys.argv[0], "flags": sys.flags.isolated}))
"""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An empty virtual environment with one module of ours in it."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    packages(folder).joinpath("reporting.py").write_text(REPORT)
    return folder


def packages(environment: Path) -> Path:
    return environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def report(command: list[str], **variables: str) -> dict[str, object]:
    done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, **variables}, timeout=30)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_the_module_runs_as_main_with_its_arguments(environment: Path) -> None:
    answer = report(signer_command("reporting", ["--a", "b c", "ü"], environment=environment))
    assert answer["arguments"] == ["--a", "b c", "ü"]
    assert answer["name"] == "__main__"
    assert answer["signwright"] == signwright.__file__


def test_planted_start_up_files_do_not_run(environment: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    evil = f"open({str(mark)!r}, 'a').write(__name__)\n"
    planted = tmp_path / "planted"
    planted.mkdir()
    for folder in (planted, packages(environment)):
        (folder / "evil.pth").write_text("import sys; " + evil)
        (folder / "sitecustomize.py").write_text(evil)
        (folder / "usercustomize.py").write_text(evil)
    startup = tmp_path / "startup.py"
    startup.write_text(evil)
    (planted / "json.py").write_text(evil)
    command = signer_command("reporting", [], environment=environment)
    variables = {"PYTHONPATH": str(planted), "PYTHONSTARTUP": str(startup), "PYTHONUSERBASE": str(planted)}
    answer = report(command, **variables)
    assert not mark.exists()
    assert answer["site"] is False
    assert answer["flags"] == 1
    # The same plant does run in an ordinary start: the test can fail.
    subprocess.run([environment / "bin" / "python", "-c", ""], check=True, env={**os.environ, **variables}, timeout=30)
    assert mark.exists()


def test_the_path_is_the_library_the_environment_and_our_source(environment: Path) -> None:
    path = report(signer_command("reporting", [], environment=environment))["path"]
    assert isinstance(path, list)
    assert path[-2:] == [str(packages(environment)), str(Path(signwright.__file__).parent.parent)]
    hub = sysconfig.get_path("purelib")
    assert hub not in path
    assert "" not in path


def test_an_installed_signwright_needs_no_source_root(environment: Path) -> None:
    installed = packages(environment) / "signwright"
    installed.mkdir()
    (installed / "__init__.py").write_text("")
    answer = report(signer_command("reporting", [], environment=environment))
    assert answer["signwright"] == str(installed / "__init__.py")


def test_a_missing_environment_is_refused_and_names_the_make_target(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        signer_command("reporting", [], environment=tmp_path / "nowhere")
    assert caught.value.code == "no-signer-environment"
    assert "make dev" in str(caught.value.hint)


def test_the_environment_is_beside_this_one_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    assert signer_environment() == Path(f"{sys.prefix}-signer")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "/elsewhere")
    assert signer_environment() == Path("/elsewhere")


def test_an_isolated_process_starts_another_like_itself(environment: Path) -> None:
    packages(environment).joinpath("starting.py").write_text(
        "import os, sys\nfrom signwright.signer.start import own_command\n"
        "command = own_command('reporting', sys.argv[1:])\nos.execv(command[0], command)\n"
    )
    answer = report(signer_command("starting", ["a", "b c"], environment=environment))
    direct = report(signer_command("reporting", ["a", "b c"], environment=environment))
    assert list(dict.fromkeys(answer["path"])) == direct["path"]  # type: ignore[call-overload]
    assert {**answer, "path": 0} == {**direct, "path": 0}


def test_a_process_that_is_not_isolated_starts_none_like_itself() -> None:
    with pytest.raises(ConfigurationError) as caught:
        own_command("reporting", [])
    assert caught.value.code == "not-isolated"
