# SPDX-License-Identifier: Apache-2.0
r"""Where a verb's settings come from: flag, environment, project file, user file, in that order.

The project file is ``.signwright.toml`` in this folder or the nearest one above; the user file is
``$XDG_CONFIG_HOME/signwright/config.toml`` (``%APPDATA%\signwright\config.toml`` on Windows). Both hold the names
below and nothing else::

    url = "https://sign.example.com"
    credentials = "/home/ci/ci.json"     # credential file (secrets stay in it)
    trust = "trust.json"                 # a relative path starts at the folder of the file that names it
    project = "default"
    policy = "release"
    timeout = 600                        # seconds that sign and wait wait for an end
    output = "text"                      # or "json"
    key = "~/.ssh/id_ed25519"            # the key that approve and deny sign with
    person = "alice"
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field

from signwright.cli.console import warn
from signwright.errors import UsageError
from signwright.model.operation import Strict
from signwright.statements.settings import read_settings

PROJECT_FILE = ".signwright.toml"
NAMES = ("url", "credentials", "trust", "project", "policy", "timeout", "output", "key", "person")
_PATHS = ("credentials", "trust", "key")


class SettingsFile(Strict):
    """What a settings file may hold."""

    url: str | None = None
    credentials: str | None = None
    trust: str | None = None
    project: str | None = None
    policy: str | None = None
    timeout: int | None = Field(default=None, ge=1)
    output: str | None = None
    key: str | None = None
    person: str | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """``origin``: where the value was found, for people."""

    value: str
    origin: str


def setting(name: str, flag: object = None, *, default: str | None = None) -> Setting | None:
    """The first value that is there: ``flag``, ``SIGNWRIGHT_<NAME>``, project file, user file, ``default``."""
    assert name in NAMES, name
    if flag is not None:
        return Setting(str(flag), "flag")
    variable = f"SIGNWRIGHT_{name.upper()}"
    if os.environ.get(variable):
        return Setting(os.environ[variable], variable)
    for file in (project_file(), user_file()):
        found = getattr(_read(file), name) if file is not None and file.is_file() else None
        if file is not None and found is not None:
            text = os.path.expanduser(str(found))
            return Setting(str(file.parent / text) if name in _PATHS else text, str(file))
    return Setting(default, "default") if default is not None else None


def wanted(name: str, flag: object = None, *, option: str) -> str:
    """A setting that must be there; raises `UsageError` naming the ways to give it."""
    found = setting(name, flag)
    if found is None:
        raise UsageError(
            f"no {name} given",
            code=f"no-{name}",
            hint=f"{option}, SIGNWRIGHT_{name.upper()}, or {name} in {PROJECT_FILE}",
        )
    return found.value


def hub_url(flag: str | None) -> str:
    """The hub's address without a trailing slash; raises `UsageError`."""
    url = wanted("url", flag, option="--url").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.path:
        raise UsageError(f"not the address of a hub: {url[:200]!r}; wanted https://HOST[:PORT]", code="bad-url")
    return url


def trust_path(flag: str | Path | None) -> Path | None:
    """Where the trust file is, or None when nothing says so."""
    found = setting("trust", flag)
    if found is not None and Path(found.origin).name == PROJECT_FILE:
        # Whoever wrote the checkout decides what verifies in it.
        warn(f"the trust file is named by {found.origin}; --trust or SIGNWRIGHT_TRUST names one of your own")
    return Path(found.value) if found else None


def signing_policy_address(policy: str | None, project: str | None) -> tuple[str, str]:
    """Project and signing policy, from ``project/policy`` or from two settings; ``default/test`` without any."""
    policy_text = setting("policy", policy, default="test")
    assert policy_text is not None
    named_project, slash, name = policy_text.value.rpartition("/")
    asked = setting("project", project, default="default")
    assert asked is not None
    if slash and project is not None and project != named_project:
        raise UsageError(f"--policy says project {named_project!r}, --project says {project!r}", code="two-projects")
    return (named_project if slash else asked.value), name


def output_format(flag: str | None) -> str:
    """``text`` or ``json``."""
    found = setting("output", flag, default="text")
    assert found is not None
    if found.value not in ("text", "json"):
        raise UsageError(f"output {found.value!r}; wanted text or json ({found.origin})", code="bad-output")
    return found.value


def seconds(flag: int | None, default: int) -> int:
    """How long to wait."""
    found = setting("timeout", flag, default=str(default))
    assert found is not None
    if not found.value.isdigit() or int(found.value) < 1:
        raise UsageError(f"timeout {found.value!r}; wanted seconds ({found.origin})", code="bad-timeout")
    return int(found.value)


def project_file() -> Path | None:
    """``.signwright.toml`` in the working folder or the nearest one above."""
    here = Path.cwd()
    return next((f / PROJECT_FILE for f in (here, *here.parents) if (f / PROJECT_FILE).is_file()), None)


def user_file() -> Path:
    """It need not exist."""
    return config_folder() / "config.toml"


def config_folder() -> Path:
    """Where a user's own settings live."""
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "signwright"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "signwright"


@lru_cache(maxsize=8)
def _read(file: Path) -> SettingsFile:
    return read_settings(SettingsFile, file, what="settings")
