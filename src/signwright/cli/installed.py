# SPDX-License-Identifier: Apache-2.0
"""What the settings of a home say about how its signer is set up."""

from __future__ import annotations

import tomllib
from typing import Any

from signwright.cli.home import Home
from signwright.cli.profiles import Installed
from signwright.errors import ConfigurationError
from signwright.identity.addresses import is_loopback


def is_installed(home: Home) -> bool:
    """They name one user for each process; raises `ConfigurationError` when they do not read."""
    return "users" in _settings(home, "signer") if home.settings("signer").exists() else False


def carries_media(home: Home) -> bool:
    """Its courier is one side of an air gap; raises `ConfigurationError` when the settings do not read."""
    return "media" in _settings(home, "courier") if home.settings("courier").exists() else False


def read_installed(home: Home) -> Installed:
    """Raises `ConfigurationError`."""
    gate = _settings(home, "signer").get("gate", {})
    try:
        return Installed(
            claimed=int(gate.get("profile", 0)),
            users=is_installed(home),
            sandbox=gate.get("sandbox", "required") == "required",
            courier_away=not is_loopback(str(_settings(home, "courier").get("hub"))),
            custodian=str(gate.get("custodian", "off")),
        )
    except (ValueError, TypeError, AttributeError) as problem:
        raise ConfigurationError(f"settings of the signer: {problem}", code="bad-settings") from problem


def _settings(home: Home, process: str) -> dict[str, Any]:
    try:
        return tomllib.loads(home.settings(process).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ConfigurationError(f"{home.settings(process)}: {problem}", code="bad-settings") from problem
