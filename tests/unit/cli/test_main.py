# SPDX-License-Identifier: Apache-2.0
"""One table of verbs, one of exit codes; results on stdout, the rest on stderr."""

from __future__ import annotations

import importlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from signwright import errors
from signwright.cli.main import VERBS, exit_code_of, run, signwright_command

CODES = {
    errors.SignwrightError("x"): 1,
    errors.ConfigurationError("x"): 1,
    errors.UsageError("x"): 2,
    errors.DeniedError("x"): 3,
    errors.DeniedError("x", code="scan"): 9,
    errors.RejectedError("x"): 4,
    errors.PendingError("x"): 5,
    errors.AuthenticationError("x"): 6,
    errors.UnavailableError("x"): 7,
    errors.TimestampError("x"): 7,
    errors.VerificationError("x"): 8,
    errors.FormatError("x"): 9,
    errors.NotFoundError("x"): 1,
}


@pytest.mark.parametrize(("problem", "code"), CODES.items(), ids=[f"{type(p).__name__}-{p.code}" for p in CODES])
def test_each_error_has_its_exit_code(problem: errors.SignwrightError, code: int) -> None:
    assert exit_code_of(problem) == code


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_of_the_table_is_a_command_with_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(VERBS[name].module)
    assert isinstance(getattr(module, f"{name.replace('-', '_')}_command", None) or module.command, click.Command)
    assert run([name, "--help"]) == 0
    assert name in capsys.readouterr().out


@pytest.mark.parametrize("name", VERBS)
def test_example_in_the_help_of_a_verb_is_one_that_it_takes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Parsed as the shell and the verb would; nothing runs."""
    words = shlex.split(VERBS[name].example)
    assert words[:2] == ["signwright", name]
    assert run([name, "--help"]) == 0
    assert VERBS[name].example in capsys.readouterr().out
    context = signwright_command.make_context("signwright", words[1:])
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        _, command, rest = context.command.resolve_command(context, rest)
        assert command is not None
        context = command.make_context(command.name, rest, parent=context)


def test_help_imports_no_verb() -> None:
    program = (
        "import sys; from signwright.cli.main import run; code = run(['--help']);"
        "heavy = {'httpx', 'cryptography', 'pydantic', 'rich', 'yaml', 'signwright.cli.sign'} & set(sys.modules);"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_signing_without_a_terminal_loads_nothing_for_one(tmp_path: Path) -> None:
    """Nor numpy, which only large files are worth: a build calls us once for each of its files."""
    program = (
        "import sys; import signwright.cli.sign; from signwright.client.http import HubConnection;"
        "HubConnection('http://127.0.0.1:9', None).close();"
        "heavy = {'rich', 'pygments', 'numpy', 'yaml', 'sqlalchemy', 'fastapi'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_unknown_verb_proposes_a_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["singn"]) == 2
    said = capsys.readouterr()
    assert "did you mean 'sign'" in said.err
    assert said.out == ""


def test_version_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("signwright ")


def test_error_is_json_too_when_asked_for(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIGNWRIGHT_CREDENTIALS", raising=False)
    monkeypatch.delenv("SIGNWRIGHT_KEY", raising=False)
    assert run(["requests", "--output", "json"]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["code"] == "no-credentials"
    assert "signwright: hint: " in said.err


def test_completion_is_clicks_own() -> None:
    program = "import sys; from signwright.cli.main import main; sys.argv = ['signwright']; main()"
    env = {"_SIGNWRIGHT_COMPLETE": "bash_complete", "COMP_WORDS": "signwright app", "COMP_CWORD": "1", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=env)
    assert "approve" in done.stdout, done.stderr
