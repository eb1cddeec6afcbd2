# SPDX-License-Identifier: Apache-2.0
"""Which user runs which process of the signer: the table ``[users]`` of signer.toml. Absent: one user runs them all.

    [users]
    gate = "signwright-gate"
    keyholder = "signwright-keyholder"
    courier = "signwright-courier"
    operators = ["root"]                    # may ask the gate how it is, halt it, and be custodians
    keyholder_socket = "/run/signwright/keyholder/keyholder.sock"

Who is at the other end of a Unix socket the kernel says (``SO_PEERCRED``, unix(7)), not the peer.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from signwright.errors import ConfigurationError, SignwrightError
from signwright.model.operation import Many, Strict
from signwright.statements.parse import validate_model

MAX_SETTINGS = 1 << 20
UserName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]
_CREDENTIALS = "3i"


class UserSettings(Strict):
    """Names of users of this machine; see the module's docstring."""

    gate: UserName
    keyholder: UserName
    courier: UserName
    operators: Annotated[Many[UserName], Field(max_length=16)] = ("root",)
    keyholder_socket: Annotated[str, StringConstraints(pattern=r"^/", max_length=100)]


@dataclass(frozen=True, slots=True)
class Users:
    """The same as user ids."""

    gate: int
    keyholder: int
    courier: int
    operators: frozenset[int]
    keyholder_socket: Path


def load_users(path: Path) -> Users | None:
    """The table in signer.toml, None when it is not there.

    Raises `ConfigurationError` for a user that does not exist, and when two processes would be one user or root.
    """
    try:
        with path.open("rb") as opened:
            content = opened.read(MAX_SETTINGS + 1)
        if len(content) > MAX_SETTINGS:
            raise ConfigurationError(f"more than {MAX_SETTINGS} bytes")
        table = tomllib.loads(content.decode("utf-8")).get("users")
        return None if table is None else _users(validate_model(UserSettings, table))
    except (OSError, ValueError, RecursionError, SignwrightError) as problem:
        raise ConfigurationError(f"signer settings {path}: users: {problem}", code="bad-settings") from problem


def _users(named: UserSettings) -> Users:
    processes = {name: _uid(name) for name in (named.gate, named.keyholder, named.courier)}
    if len(set(processes.values())) != 3 or 0 in processes.values():
        raise ConfigurationError("gate, keyholder and courier must be three users, none of them root")
    operators = frozenset(_uid(name) for name in named.operators)
    if operators & set(processes.values()):
        raise ConfigurationError("an operator must not be the user of one of the processes")
    return Users(
        gate=processes[named.gate],
        keyholder=processes[named.keyholder],
        courier=processes[named.courier],
        operators=operators,
        keyholder_socket=Path(named.keyholder_socket),
    )


def _uid(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigurationError(f"this machine has no user {name!r}") from None


def peer_user(connection: socket.socket) -> int:
    """The user id of the process that connected, or that began to listen, as the kernel saw it then."""
    size = struct.calcsize(_CREDENTIALS)
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack(_CREDENTIALS, credentials)[1])


def check_profile(profile: int, users: Users | None) -> None:
    """Every receipt repeats the profile: one user for everything is 0, whatever else the machine has.

    Raises `ConfigurationError`.
    """
    if profile > 0 and users is None:
        raise ConfigurationError(
            f"the settings say profile {profile}, and one user runs every process, which is profile 0",
            code="bad-settings",
            hint="signwright install",
        )


def demand_own_user(wanted: int, process: str) -> None:
    """Raises `ConfigurationError` when this process does not run as the user that the settings name for it."""
    if os.getuid() != wanted:
        raise ConfigurationError(f"the {process} runs as user {os.getuid()}; wanted {wanted}", code="wrong-user")
