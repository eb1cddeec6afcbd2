# SPDX-License-Identifier: Apache-2.0
"""Changes to the settings files of a home, line by line, so that an administrator's comments stay where they are."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from signwright.cli.install import layout
from signwright.cli.install.layout import Profile, user_of
from signwright.cli.settings_text import q
from signwright.errors import ConfigurationError

#: Names from the outside to the inside; empty: before the first table.
Table = tuple[str, ...]
AIR_GAP = 3
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Credential:
    """``source``: the secret file so far; the keyholder gets it from the service manager as ``name``."""

    name: str
    source: str


def set_value(text: str, table: Table, key: str, value: str | int) -> str:
    """``key`` of ``table`` becomes ``value``; the file is changed nowhere else, and a comment behind the value stays.

    Raises `ConfigurationError` when the result does not read back so.
    """
    written = str(value) if isinstance(value, int) else q(value)
    lines = text.split("\n")
    begin, end = _extent(lines, table)
    row = re.compile(rf"(\s*{re.escape(key)}\s*=\s*)(\"(?:[^\"\\]|\\.)*\"|[^#\n\"]*?)(\s*(?:#.*)?)")
    for number in range(begin, end):
        found = row.fullmatch(lines[number])
        if found:
            lines[number] = f"{found[1]}{written}{found[3]}"
            break
    else:
        lines.insert(_last_entry(lines, begin, end), f"{key} = {written}")
    changed = "\n".join(lines)
    if _table(changed, table).get(key) != value:
        raise ConfigurationError(f"settings: cannot write {key} into table {list(table)}", code="bad-settings")
    return changed


def _extent(lines: list[str], table: Table) -> tuple[int, int]:
    """Lines of a table's own entries: from behind its head to the next head."""
    heads = [(number, _head(line)) for number, line in enumerate(lines) if line.lstrip().startswith("[")]
    starts = [(-1, Table()), *heads]
    for index, (number, name) in enumerate(starts):
        if name == table:
            return number + 1, starts[index + 1][0] if index + 1 < len(starts) else len(lines)
    raise ConfigurationError(f"settings: no table {list(table)}", code="bad-settings")


def _head(line: str) -> Table | None:
    """The table that a line begins; None for a row of a table of tables, and for what is no head."""
    try:
        value: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    names = []
    while isinstance(value, dict) and value:
        ((name, value),) = value.items()
        names.append(name)
    return tuple(names) if isinstance(value, dict) else None


def _last_entry(lines: list[str], begin: int, end: int) -> int:
    while end > begin and not lines[end - 1].strip():
        end -= 1
    return end


def _table(text: str, table: Table) -> dict[str, Any]:
    try:
        value: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise ConfigurationError(f"settings: {problem}", code="bad-settings") from problem
    for part in table:
        value = value.get(part, {}) if isinstance(value, dict) else {}
    return value if isinstance(value, dict) else {}


def signer_toml(text: str, profile: Profile) -> tuple[str, tuple[Credential, ...]]:
    """Sockets, profile, users; secret files become credentials. Those that are credentials already are left alone.

    Without a network a custodian confirms releases, unless the file says what is wanted.
    """
    text = set_value(text, ("gate",), "socket", layout.GATE_SOCKET)
    for table in ("gate", "keyholder"):
        text = set_value(text, (table,), "profile", profile.number)
    if profile.number == AIR_GAP and "custodian" not in _table(text, ("gate",)):
        text = set_value(text, ("gate",), "custodian", "release")
    credentials = []
    keys = _table(text, ("keyholder",)).get("keys", {})
    for name, entry in sorted(keys.items()):
        secret = str(entry.get("secret_file", ""))
        if secret.startswith(layout.SECRETS + "/"):
            continue
        credential = Credential(f"{name}.secret", secret)
        text = set_value(text, ("keyholder", "keys", name), "secret_file", f"{layout.SECRETS}/{credential.name}")
        credentials.append(credential)
    if "users" not in _table(text, ()):
        text = text.rstrip("\n") + "\n\n" + _users_table()
    return text.replace(
        "# Gate and keyholder. profile 0: one user on one machine; see `signwright doctor`.",
        "# Gate and keyholder, each run by its own user; see `signwright doctor`.",
    ), tuple(credentials)


def _users_table() -> str:
    return (
        "# One user for each process; each socket hears one of them, by the kernel's word.\n"
        "[users]\n"
        f"gate = {q(user_of('gate'))}\n"
        f"keyholder = {q(user_of('keyholder'))}\n"
        f"courier = {q(user_of('courier'))}\n"
        'operators = ["root"]                   # may ask the gate how it is, halt it, and be custodians\n'
        f"keyholder_socket = {q(layout.KEYHOLDER_SOCKET)}\n"
    )


def courier_toml(text: str, profile: Profile, *, hub: str | None) -> str:
    """The gate's socket. On a signer host of its own: the hub's machine wherever this machine was meant.

    ``hub``: URL of the hub; None leaves what is there, and is refused where that is this machine.
    """
    text = set_value(text, (), "gate", layout.GATE_SOCKET)
    if profile.side is not None:
        return _media_toml(text, profile.side, hub=hub)
    if profile.name != "2-signer":
        return text
    url = hub or str(_table(text, ())["hub"])
    host = urlsplit(url).hostname or ""
    if host in _LOOPBACK:
        raise ConfigurationError(
            f"the courier would look for the hub at {url}, on this machine",
            code="no-hub",
            hint="--hub https://HOST",
        )
    text = set_value(text, (), "hub", url)
    for table in ("witnesses", "timestamp_authorities"):
        for name, address in _table(text, (table,)).items():
            if urlsplit(address).hostname in _LOOPBACK:
                text = set_value(text, (table,), name, _moved(address, host))
    return text


def _media_toml(text: str, side: str, *, hub: str | None) -> str:
    """Which side of the gap this is."""
    if not _table(text, ("media",)):
        raise ConfigurationError(
            "settings of the courier: no table [media]", code="no-media", hint="signwright init --profile 3 writes it"
        )
    text = set_value(text, ("media",), "side", side)
    text = set_value(text, ("media",), "socket", layout.MEDIA_SOCKET)
    return set_value(text, (), "hub", hub) if hub is not None and side == "outside" else text


def _moved(url: str, host: str) -> str:
    parts = urlsplit(url)
    shown = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=f"{shown}:{parts.port}" if parts.port else shown).geturl()


def hub_toml(text: str) -> str:
    return set_value(text, (), "scanner_socket", layout.SCANNER_SOCKET)


def scanner_toml(text: str, *, hub_user: int | None) -> str:
    """``hub_user``: its id, None while it does not exist yet (staging)."""
    text = set_value(text, (), "socket", layout.SCANNER_SOCKET)
    if hub_user is None:
        return text
    users = _table(text, ()).get("users", [])
    if hub_user in users:
        return text
    if users:
        raise ConfigurationError(
            f"settings of the scanner: users = {users}; the hub's user {hub_user} is missing", code="bad-settings"
        )
    head, _, rest = text.partition("\n[")
    row = f"users = [{hub_user}]                       # who may ask: {user_of('hub')}\n"
    return head.rstrip("\n") + "\n" + row + (f"\n[{rest}" if rest else "")


def listening_toml(text: str, *, host: str) -> str:
    """Witness or timestamp authority: where they listen, so that a courier on another machine reaches them."""
    return set_value(text, (), "host", host) if _table(text, ()).get("host") in _LOOPBACK else text


def hub_host(text: str) -> str:
    return str(_table(text, ()).get("host", "127.0.0.1"))
