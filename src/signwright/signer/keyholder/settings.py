# SPDX-License-Identifier: Apache-2.0
"""The keyholder's settings: the ``[keyholder]`` part of signer.toml. An unknown key is an error."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from signwright.errors import ConfigurationError, MalformedError
from signwright.model.operation import Name, Strict
from signwright.statements.parse import validate_model

PathText = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00-\x1f\x7f-\x9f\u200b-\u206f]+$")]


class KeySettings(Strict):
    """Where a key of the policy really is.

    ``software``: ``file`` is encrypted PKCS #8, ``secret_file`` its passphrase: whoever reads both files has the key.
    ``pkcs11``: ``uri`` is an RFC 7512 URI (token, serial, object, id), ``module`` the token maker's library,
    ``secret_file`` the PIN: whoever reads it and reaches the token can sign, but cannot carry the key away.
    """

    store: Literal["software", "pkcs11"]
    secret_file: PathText
    file: PathText | None = None
    uri: PathText | None = None
    module: PathText | None = None
    children: int = Field(default=1, ge=1, le=16)


class KeyholderSettings(Strict):
    """``state``: SQLite file that must never go back; ``profile``: 0 workstation … 3 air gap, written into the log."""

    state: PathText
    profile: int = Field(default=0, ge=0, le=3)
    keys: dict[Name, KeySettings]


def load_settings(file: Path) -> KeyholderSettings:
    """Read signer.toml; raises `ConfigurationError`."""
    try:
        with file.open(encoding="utf-8") as opened:  # the gate refuses a longer one
            return validate_model(KeyholderSettings, tomllib.loads(opened.read(1 << 20)).get("keyholder"))
    except (OSError, ValueError, RecursionError, MalformedError) as problem:
        raise ConfigurationError(f"{file}: [keyholder] {problem}", code="bad-settings") from problem
