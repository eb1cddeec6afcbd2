# SPDX-License-Identifier: Apache-2.0
"""The courier's settings file.

    hub = "http://127.0.0.1:8460"
    gate = "../run/gate.sock"
    key_file = "../courier/courier.key"       # its transport key: signs calls to the hub, decides nothing

    [witnesses]
    w1 = "http://127.0.0.1:8461"

    [timestamp_authorities]
    builtin = "http://127.0.0.1:8462/"

    [media]                                   # only where people carry: docs/air-gap.md
    side = "vault"                            # or "outside"
    socket = "../run/courier.sock"
    folder = "../courier/media"
    vault_key_file = "../courier/vault.key"   # signs the vault's bundles; those from outside are signed by key_file
    vault_key = "ed25519:…"
    outside_key = "ed25519:…"

In a vault the addresses are those of witnesses and authorities inside it; all others wait for a medium.
Relative paths start at the folder of the settings file. Names are those of the policy; addresses are this file's own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from signwright.errors import ConfigurationError
from signwright.identity.addresses import is_loopback
from signwright.model.operation import Name, Strict
from signwright.statements.settings import read_settings

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#]+$", max_length=1024)]


class MediaSettings(Strict):
    """``side``: of the gap; ``vault_key``, ``outside_key``: whose bundles are read; ``total_bytes``: of one bundle."""

    side: Literal["outside", "vault"]
    socket: str
    folder: str
    vault_key_file: str
    vault_key: str
    outside_key: str
    total_bytes: int = Field(default=64 << 30, ge=1 << 20)

    @property
    def other_key(self) -> str:
        return self.vault_key if self.side == "outside" else self.outside_key


class CourierSettings(Strict):
    """``ca_file``: PEM of the authority that certified the hub, when it is not a public one.

    ``plain_http``: allow plain HTTP to a hub on another machine, for closed networks that protect the way themselves.
    Whoever is on the way then reads artifacts; nobody there can authorise anything.
    """

    hub: Url
    gate: str
    key_file: str
    ca_file: str | None = None
    plain_http: bool = False
    batch: int = Field(default=32, ge=1, le=256)
    wait_seconds: int = Field(default=20, ge=1, le=60)
    witness_seconds: int = Field(default=10, ge=1, le=120)
    timestamp_seconds: int = Field(default=10, ge=1, le=120)
    witnesses: dict[Name, Url] = Field(default_factory=dict)
    timestamp_authorities: dict[Name, Url] = Field(default_factory=dict)
    media: MediaSettings | None = None


def load_settings(path: Path) -> CourierSettings:
    """Read and check the file; raises `ConfigurationError` that names it and the field."""
    settings = read_settings(CourierSettings, path, what="courier settings")
    _check_transport(settings, path)
    folder = path.absolute().parent
    located = {name: os.path.normpath(folder / getattr(settings, name)) for name in ("gate", "key_file")}
    if settings.ca_file is not None:
        located["ca_file"] = os.path.normpath(folder / settings.ca_file)
    if settings.media is None:
        return settings.model_copy(update=located)
    names = ("socket", "folder", "vault_key_file")
    places = {name: os.path.normpath(folder / getattr(settings.media, name)) for name in names}
    return settings.model_copy(update={**located, "media": settings.media.model_copy(update=places)})


def _check_transport(settings: CourierSettings, path: Path) -> None:
    if settings.media is not None and settings.media.side == "vault":
        return  # it calls no hub
    if settings.hub.startswith("https://") or is_loopback(settings.hub) or settings.plain_http:
        return
    raise ConfigurationError(
        f"courier settings {path}: hub: {settings.hub}: plain HTTP to another machine; wanted https://,"
        " or plain_http = true",
        code="bad-settings",
    )
