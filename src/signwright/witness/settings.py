# SPDX-License-Identifier: Apache-2.0
"""The witness's settings file: TOML, or JSON when its name ends in ``.json``.

    name = "witness.example/w1"          # the key name in cosignatures
    key_file = "witness.key"             # secret, mode 0600; made by --create
    database = "witness.sqlite3"         # made by --create
    host = "127.0.0.1"
    port = 8461                          # 0: any free port
    operator = "Other Ltd"               # who runs it, and under which address others reach it: for its public
    url = "https://witness.example"      # line alone; the process does not use them

    [[logs]]
    origin = "example.com/log"
    keys = ["example.com/log+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"]

Relative paths start at the folder of the settings file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from signwright.errors import ConfigurationError, MalformedError
from signwright.model.operation import Strict
from signwright.statements.settings import read_settings
from signwright.transparency.note import VerifierKey


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class LogSettings(Strict):
    """A log to cosign for: its origin line and the verifier keys that may sign its checkpoints."""

    origin: Annotated[str, Field(min_length=1, max_length=255)]
    keys: Annotated[tuple[str, ...], BeforeValidator(_tuple), Field(min_length=1, max_length=8)]

    def verifier_keys(self) -> tuple[VerifierKey, ...]:
        return tuple(VerifierKey.parse(key) for key in self.keys)


class WitnessSettings(Strict):
    """See the module's docstring; after `load_settings` the paths are absolute."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    key_file: str
    database: str
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    operator: str | None = None
    url: str | None = None
    logs: Annotated[tuple[LogSettings, ...], BeforeValidator(_tuple), Field(max_length=1000)] = ()


def load_settings(path: Path) -> WitnessSettings:
    """Read and check the file; raises `ConfigurationError` that names it and the field."""
    settings = read_settings(WitnessSettings, path, what="witness settings")
    for index, log in enumerate(settings.logs):
        try:
            log.verifier_keys()
        except MalformedError as problem:
            raise ConfigurationError(
                f"witness settings {path}: logs.{index}.keys: {problem}", code="bad-settings"
            ) from problem
    if len({log.origin for log in settings.logs}) != len(settings.logs):
        raise ConfigurationError(f"witness settings {path}: a log stands there twice", code="bad-settings")
    folder = path.absolute().parent
    located = {"key_file": str(folder / settings.key_file), "database": str(folder / settings.database)}
    return settings.model_copy(update=located)
