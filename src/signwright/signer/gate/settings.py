# SPDX-License-Identifier: Apache-2.0
"""The gate's table ``[gate]`` in the signer's settings file. The keyholder's own table stands beside it and is not
read here.

    [gate]
    state = "../signer/gate"                # folder: gate.sqlite3, tiles/
    socket = "../run/gate.sock"
    order_key = "../signer/gate/order.key"
    receipt_key = "../signer/gate/receipt.key"
    log_key = "../signer/gate/log.key"
    profile = 0
    sandbox = "required"                    # or "none": no confinement, shown on every receipt
    custodian = "off"                       # or "release", "required": a person here confirms releases, or everything
    custodian_keys = "any"                  # or "security-key": only keys that have to be touched

Relative paths start at the folder of the settings file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from signwright.errors import ConfigurationError
from signwright.model.operation import Strict
from signwright.statements.custodian import MAX_CONFIRMED
from signwright.statements.keyfile import load_seed
from signwright.statements.settings import read_settings

#: Of signer.toml: those of the keyholder and of the users are read elsewhere.
_TABLES = ("gate", "keyholder", "users")
_MAX_KEY_FILE = 1024
Seconds = Annotated[int, Field(ge=1, le=600)]


class Limits(Strict):
    """``requests``: at work at once; ``artifact_bytes``: of one artifact; ``group``: leaves in one commit of the
    log; ``custodian_waiting``: requests in the custodian's list, half of them of one submitter. It stays below the
    courier's ``batch``, so that others get past them.
    """

    requests: int = Field(default=256, ge=1, le=4096)
    artifact_bytes: int = Field(default=8 << 30, ge=1)
    group: int = Field(default=512, ge=1, le=4096)
    witness_seconds: Seconds = 10
    timestamp_seconds: Seconds = 30
    timestamp_attempt_seconds: Seconds = 10
    timestamp_cool_down_seconds: Seconds = 30
    fetch_seconds: int = Field(default=3600, ge=1, le=86400)
    order_seconds: Seconds = 60
    epoch_seconds: int = Field(default=3600, ge=60, le=86400)
    deny_seconds: int = Field(default=60, ge=1, le=3600)
    custodian_waiting: int = Field(default=24, ge=1, le=MAX_CONFIRMED)


class GateSettings(Strict):
    """See the module's docstring; after `load_settings` the paths are absolute."""

    state: str
    socket: str
    order_key: str
    receipt_key: str
    log_key: str
    profile: int = Field(default=0, ge=0, le=9)
    sandbox: Literal["required", "none"] = "required"
    workers: int = Field(default=2, ge=1, le=64)
    custodian: Literal["off", "release", "required"] = "off"
    custodian_keys: Literal["any", "security-key"] = "any"
    limits: Limits = Limits()

    @property
    def database(self) -> Path:
        return Path(self.state) / "gate.sqlite3"

    @property
    def tiles(self) -> Path:
        return Path(self.state) / "tiles"


def load_settings(path: Path) -> GateSettings:
    """Read the file's table ``gate``; raises `ConfigurationError` that names the file and the field."""
    settings = read_settings(GateSettings, path, what="signer settings", table="gate", tables=_TABLES)
    folder = path.absolute().parent
    names = ("state", "socket", "order_key", "receipt_key", "log_key")
    return settings.model_copy(update={name: os.path.normpath(folder / getattr(settings, name)) for name in names})


def load_key(path: str) -> Ed25519PrivateKey:
    """A machine's key file; raises `ConfigurationError` when it is missing, wrong or open to others."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_KEY_FILE).decode("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"key file {path}: {type(problem).__name__}", code="bad-key-file") from problem
    if mode & 0o077:
        raise ConfigurationError(f"key file {path}: mode {mode & 0o777:o}; wanted 600", code="bad-key-file")
    return load_seed(content)
