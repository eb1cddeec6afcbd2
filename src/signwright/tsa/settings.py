# SPDX-License-Identifier: Apache-2.0
"""The one TOML file of the built-in timestamp authority."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from signwright.model.operation import Many, Strict
from signwright.statements.settings import read_settings as read_file

#: For authorities that have no identifier of their own: an arc made from a UUID (ITU-T X.667) for this project.
DEFAULT_POLICY_OID = "2.25.21528752629131107067083800824778638015"

FilePath = Annotated[Path, Field(strict=False)]
DottedOid = Annotated[str, StringConstraints(pattern=r"^[0-2](\.(0|[1-9][0-9]{0,38})){1,31}$")]


class Settings(Strict):
    """Relative paths start at the folder of the settings file.

    ``key_file``: PKCS#8 PEM. Encrypted, when ``passphrase_file`` is given; otherwise plain, and then nobody but its
    owner may have access (mode 0600). ``chain_file``: PEM certificates, the timestamping one first. ``state_file``:
    SQLite, remembers which serial numbers are spent.
    """

    key_file: FilePath
    passphrase_file: FilePath | None = None
    chain_file: FilePath
    state_file: FilePath
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    policy_oid: DottedOid = DEFAULT_POLICY_OID
    also_accepted_policies: Many[DottedOid] = ()
    accuracy_seconds: Annotated[int, Field(ge=1, le=3600)] = 1


def read_settings(file: Path) -> Settings:
    """Read ``file``; `ConfigurationError` names the field that is wrong."""
    settings = read_file(Settings, file, what="timestamp authority settings")
    folder = file.resolve().parent
    paths = ("key_file", "passphrase_file", "chain_file", "state_file")
    found = {name: getattr(settings, name) for name in paths}
    return settings.model_copy(update={name: folder / path for name, path in found.items() if path is not None})
