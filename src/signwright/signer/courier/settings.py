# SPDX-License-Identifier: Apache-2.0
"""The courier's settings file.

    hub = "http://127.0.0.1:8460"
    gate = "../run/gate.sock"
    key_file = "../courier/courier.key"       # its transport key: signs calls to the hub, decides nothing

    [witnesses]
    w1 = "http://127.0.0.1:8461"

    [timestamp_authorities]
    builtin = "http://127.0.0.1:8462/"

Relative paths start at the folder of the settings file. Names are those of the policy; addresses are this file's own.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from signwright.errors import ConfigurationError, SignwrightError
from signwright.identity.addresses import is_loopback
from signwright.model.operation import Name, Strict
from signwright.statements.parse import validate_model

MAX_SETTINGS = 1 << 20
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#]+$", max_length=1024)]


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


def load_settings(path: Path) -> CourierSettings:
    """Read and check the file; raises `ConfigurationError` that names it."""
    try:
        content = path.read_bytes()
        if len(content) > MAX_SETTINGS:
            raise ConfigurationError(f"{len(content)} bytes; at most {MAX_SETTINGS} are read")
        settings = validate_model(CourierSettings, tomllib.loads(content.decode("utf-8")))
        _check_transport(settings)
    except (OSError, ValueError, SignwrightError) as problem:
        raise ConfigurationError(f"courier settings {path}: {problem}", code="bad-settings") from problem
    folder = path.absolute().parent
    located = {name: os.path.normpath(folder / getattr(settings, name)) for name in ("gate", "key_file")}
    if settings.ca_file is not None:
        located["ca_file"] = os.path.normpath(folder / settings.ca_file)
    return settings.model_copy(update=located)


def _check_transport(settings: CourierSettings) -> None:
    if settings.hub.startswith("https://") or is_loopback(settings.hub) or settings.plain_http:
        return
    raise ConfigurationError(
        f"hub {settings.hub}: plain HTTP to another machine; wanted https://, or plain_http = true"
    )
