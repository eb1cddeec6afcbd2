# SPDX-License-Identifier: Apache-2.0
"""The processes of a home, started by ``python -m`` and never imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from signwright.cli.home import Home, HomeFile
from signwright.errors import ConfigurationError

SIGNER_ENVIRONMENT = "SIGNWRIGHT_SIGNER_ENV"
#: Begins every command line of ours. ``-P``: nothing is imported from the folder that the user happens to stand in,
#: which may be a stranger's checkout.
PYTHON = (sys.executable, "-P", "-m")
HELPER_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Process:
    """``name``: of its settings file and log; ``after``: starts when these are ready."""

    name: str
    module: str
    after: tuple[str, ...] = ()


#: Everything that runs on a machine that does everything.
PROCESSES = (
    Process("witness", "signwright.witness"),
    Process("tsa", "signwright.tsa"),
    Process("scanner", "signwright.scanner"),
    Process("signer", "signwright.signer.start"),
    Process("hub", "signwright.hub"),
    Process("courier", "signwright.signer.courier", ("hub", "signer", "witness")),
)


def command_of(process: Process, home: Home, described: HomeFile) -> list[str]:
    """The command line; nothing secret stands in it."""
    command = [*PYTHON, process.module, "--settings", str(home.settings(process.name))]
    if process.name == "signer" and home.wants_genesis:
        command += ["--genesis", described.policy_root_sha256]
    return command


def environment_of(described: HomeFile) -> dict[str, str]:
    """The caller's environment, with the signer's virtual environment named as ``init`` was told."""
    found = dict(os.environ)
    if described.signer_env is not None:
        found[SIGNER_ENVIRONMENT] = described.signer_env
    return found


def run_helper(module: str, arguments: Sequence[str], *, signer_env: str | None = None) -> str:
    """Run one of our programs to its end; its stdout. Raises `ConfigurationError` with what it said."""
    environment = {**os.environ, **({SIGNER_ENVIRONMENT: signer_env} if signer_env else {})}
    done = subprocess.run(
        [*PYTHON, module, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=HELPER_SECONDS,
        check=False,
    )
    said = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode != 0:
        last = said.splitlines()[-1] if said else f"exit status {done.returncode}"
        raise ConfigurationError(f"{module}: {last}", code="helper-failed", hint=_server_hint(said))
    return done.stdout.decode("utf-8", "replace")


def _server_hint(said: str) -> str | None:
    return "pip install 'signwright[server]'" if "ModuleNotFoundError" in said else None


def token_helper(arguments: Sequence[str], *, signer_env: str | None) -> dict[str, object]:
    """Ask the signer's environment about tokens (`signwright.signer.tokens`); its JSON answer."""
    text = run_helper("signwright.signer.start", ["--tokens", *arguments], signer_env=signer_env)
    answer = json.loads(text)
    if not isinstance(answer, dict):
        raise ConfigurationError("the token helper answered with something else than an object", code="helper-failed")
    return answer
