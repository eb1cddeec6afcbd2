# SPDX-License-Identifier: Apache-2.0
"""The hub's settings file: TOML, or JSON when its name ends in ``.json``.

    host = "127.0.0.1"
    port = 8440                          # 0: any free port, told in the ready file
    data_dir = "hub"                     # artifacts, log files, nonces, and the database unless told otherwise
    database_url = "sqlite:///…"         # default: hub.sqlite3 in data_dir
    policy_dir = "policy/signed"         # root.json, policy.json, documents/*.json: the first signed policy
    policy_root_sha256 = "…"             # digest of the policy root that is trusted
    courier_key = "ed25519:…"            # who may fetch work and bring results
    scanner_socket = "run/scanner.sock"  # absent: policies that want a scan wait for ever
    log_level = "info"
    sweep_seconds = 2                    # how often leases, deadlines and retention are looked at

    [limits]
    artifact_bytes = 4294967296          # one artifact
    open_requests = 1000                 # of one credential
    open_bytes = 68719476736             # artifacts of one credential's open requests
    lease_seconds = 20                   # how long a silent courier or scanner keeps its work
    wait_seconds = 60                    # longest long poll
    body_seconds = 30                    # longest silence within the body of a call
    scans = 2                            # at a time

Relative paths start at the folder of the settings file; an unknown name is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from signwright.errors import ConfigurationError, MalformedError
from signwright.model.operation import Sha256Text, Strict
from signwright.statements.keys import verifying_key
from signwright.statements.settings import read_settings

_Count = Annotated[int, Field(ge=1)]


class Limits(Strict):
    artifact_bytes: _Count = 4 << 30
    open_requests: _Count = 1000
    open_bytes: _Count = 64 << 30
    lease_seconds: _Count = 20
    wait_seconds: _Count = 60
    body_seconds: _Count = 30
    scans: Annotated[int, Field(ge=1, le=64)] = 2


class HubSettings(Strict):
    """See the module's docstring; after `load_settings` the paths are absolute."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8440
    data_dir: str
    database_url: str | None = None
    policy_dir: str
    policy_root_sha256: Sha256Text
    courier_key: str
    scanner_socket: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    sweep_seconds: Annotated[int, Field(ge=1, le=60)] = 2
    limits: Limits = Limits()

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{Path(self.data_dir) / 'hub.sqlite3'}"


def load_settings(path: Path) -> HubSettings:
    """Read and check the file; raises `ConfigurationError` that names it and the field."""
    settings = read_settings(HubSettings, path, what="hub settings")
    try:
        if verifying_key(settings.courier_key).scheme != "ed25519":
            raise MalformedError("not an Ed25519 key")
    except MalformedError as problem:
        raise ConfigurationError(f"hub settings {path}: courier_key: {problem}", code="bad-settings") from problem
    folder = path.absolute().parent
    located = {
        name: str(folder / value)
        for name in ("data_dir", "policy_dir", "scanner_socket")
        if (value := getattr(settings, name)) is not None
    }
    return settings.model_copy(update=located)
