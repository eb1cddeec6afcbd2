# SPDX-License-Identifier: Apache-2.0
"""The one TOML file of the built-in timestamp authority."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from signwright.errors import ConfigurationError

#: For authorities that have no identifier of their own: an arc made from a UUID (ITU-T X.667) for this project.
DEFAULT_POLICY_OID = "2.25.21528752629131107067083800824778638015"

DottedOid = Annotated[str, StringConstraints(pattern=r"^[0-2](\.(0|[1-9][0-9]{0,38})){1,31}$")]


class Settings(BaseModel):
    """Relative paths start at the folder of the settings file.

    ``key_file``: PKCS#8 PEM. Encrypted, when ``passphrase_file`` is given; otherwise plain, and then nobody but its
    owner may have access (mode 0600). ``chain_file``: PEM certificates, the timestamping one first. ``state_file``:
    SQLite, remembers which serial numbers are spent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_file: Path
    passphrase_file: Path | None = None
    chain_file: Path
    state_file: Path
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    policy_oid: DottedOid = DEFAULT_POLICY_OID
    also_accepted_policies: tuple[DottedOid, ...] = ()
    accuracy_seconds: Annotated[int, Field(ge=1, le=3600)] = 1


def read_settings(file: Path) -> Settings:
    """Read ``file``; `ConfigurationError` names what is wrong with it."""
    try:
        with file.open("rb") as content:
            settings = Settings.model_validate(tomllib.load(content))
    except OSError as problem:
        raise ConfigurationError(f"{file}: {problem.strerror}", code="bad-settings") from problem
    except tomllib.TOMLDecodeError as problem:
        raise ConfigurationError(f"{file}: {problem}", code="bad-settings") from problem
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{file}: {where}: {first['msg'].lower()}", code="bad-settings") from problem
    folder = file.resolve().parent
    paths = ("key_file", "passphrase_file", "chain_file", "state_file")
    found = {name: getattr(settings, name) for name in paths}
    return settings.model_copy(update={name: folder / path for name, path in found.items() if path is not None})
