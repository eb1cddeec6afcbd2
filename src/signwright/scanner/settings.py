# SPDX-License-Identifier: Apache-2.0
"""The scanner's settings file: TOML, or JSON when its name ends in ``.json``.

    socket = "scanner.sock"              # Unix socket, mode 0660
    key_file = "scanner.key"             # secret, mode 0600; made by --create
    spool = "spool"                      # folder for unlinked copies of artifacts; room for the largest, unpacked
    engines = ["yara-x"]                 # and, or instead, "clamd"
    rules = []                           # folders with *.yar files beside those shipped
    sandbox = "required"                 # "none" gives it up, and every verdict says so
    users = []                           # user ids that may ask, besides the scanner's own
    parallel = 2

    [clamd]
    address = "unix:/run/clamav/clamd.ctl"
    max_age_hours = 168                  # 0: definitions without a date are accepted

    [limits]
    artifact = 21474836480
    depth = 8
    ratio = 100
    total = 21474836480
    members = 100000
    seconds = 3600                       # for one artifact
    memory = 1073741824                  # for each sandboxed child

Relative paths start at the folder of the settings file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from signwright.model.operation import Many, Strict
from signwright.statements.settings import read_settings

_Count = Annotated[int, Field(ge=1)]


class ClamdSettings(Strict):
    address: str = "unix:/run/clamav/clamd.ctl"
    max_age_hours: Annotated[int, Field(ge=0)] = 168
    seconds: _Count = 300


class LimitSettings(Strict):
    artifact: _Count = 20 << 30
    depth: Annotated[int, Field(ge=1, le=12)] = 8
    ratio: _Count = 100
    total: _Count = 20 << 30
    members: _Count = 100_000
    seconds: _Count = 3600
    memory: Annotated[int, Field(ge=64 << 20)] = 1 << 30


class ScannerSettings(Strict):
    """See the module's docstring; after `load_settings` the paths are absolute."""

    socket: str
    key_file: str
    spool: str
    engines: Annotated[Many[Literal["yara-x", "clamd"]], Field(min_length=1, max_length=2)] = ("yara-x",)
    rules: Many[str] = ()
    sandbox: Literal["required", "none"] = "required"
    users: Many[int] = ()
    parallel: Annotated[int, Field(ge=1, le=64)] = 2
    clamd: ClamdSettings = ClamdSettings()
    limits: LimitSettings = LimitSettings()


def load_settings(path: Path) -> ScannerSettings:
    """Read and check the file; raises `ConfigurationError` that names it and the field."""
    settings = read_settings(ScannerSettings, path, what="scanner settings")
    folder = path.absolute().parent
    located: dict[str, object] = {
        name: str(folder / getattr(settings, name)) for name in ("socket", "key_file", "spool")
    }
    located["rules"] = tuple(str(folder / rules) for rules in settings.rules)
    return settings.model_copy(update=located)
