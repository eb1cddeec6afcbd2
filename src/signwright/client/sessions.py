# SPDX-License-Identifier: Apache-2.0
"""A person's session: a fresh Ed25519 key that their SSH key vouches for, to read and to post with, not to approve.

It is kept in a file of mode 0600 until it ends, so that looking twice does not ask for the touch twice.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from signwright.client.files import write_private
from signwright.client.http import CallKey, HubConnection
from signwright.client.hub import Hub
from signwright.client.ssh_keys import PersonKey
from signwright.errors import AuthenticationError, SignwrightError
from signwright.identity.sessions import session_subject
from signwright.model.base64text import strict_base64
from signwright.model.operation import Strict, Time
from signwright.model.times import format_time, parse_time
from signwright.statements.keys import key_id_of
from signwright.statements.models import Text
from signwright.statements.parse import parse_model
from signwright.statements.session import Session
from signwright.statements.writing import public_text, statement_payload

LIFETIME = timedelta(hours=8)
#: A session that ends within this time is not used again.
MARGIN = timedelta(minutes=10)


class _Kept(Strict):
    url: Text
    person: Text
    signed_by: Text
    secret: str = Field(repr=False)
    expires: Time


def state_folder() -> Path:
    r"""Where the client remembers things (``$XDG_STATE_HOME/signwright``, ``%LOCALAPPDATA%\signwright``), made now."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folder = base / "signwright"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def open_hub(url: str, person: str, key: PersonKey, *, now: datetime) -> Hub:
    """A hub that knows the caller as ``person``: with the session that is kept, or with a new one."""
    file = _file(url, person, key)
    kept = _read(file, url, person, key=key, now=now)
    if kept is not None:
        return Hub(HubConnection(url, _call_key(kept)))
    secret = Ed25519PrivateKey.generate()
    hub = Hub(HubConnection(url, _call_key(secret)))
    expires = now + LIFETIME - timedelta(minutes=1)
    word = Session(
        person=person, public_key=public_text(secret), created=format_time(now), expires=format_time(expires)
    )
    payload = statement_payload(word, [session_subject(word.public_key)])
    try:
        hub.open_session(key.sign_statement(payload, "session"))
    except SignwrightError:
        hub.connection.close()
        raise
    row = _Kept(
        url=url,
        person=person,
        signed_by=key.public.fingerprint,
        secret=base64.b64encode(secret.private_bytes_raw()).decode(),
        expires=word.expires,
    )
    write_private(file, row.model_dump_json().encode())
    return hub


def forget(url: str, person: str, key: PersonKey) -> None:
    """Drop a kept session, as one does when the hub no longer knows it."""
    _file(url, person, key).unlink(missing_ok=True)


def open_known(url: str, person: str, key: PersonKey, *, now: datetime) -> Hub:
    """`open_hub`, and once more with a new session when the hub has forgotten the kept one."""
    hub = open_hub(url, person, key, now=now)
    try:
        hub.requests(limit=1)
    except AuthenticationError:
        hub.connection.close()
        forget(url, person, key)
        return open_hub(url, person, key, now=now)
    except SignwrightError:
        hub.connection.close()
        raise
    return hub


def _file(url: str, person: str, key: PersonKey) -> Path:
    name = hashlib.sha256(f"{url}\n{person}\n{key.public.fingerprint}".encode()).hexdigest()[:24]
    folder = state_folder() / "sessions"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{name}.json"


def _read(file: Path, url: str, person: str, *, key: PersonKey, now: datetime) -> Ed25519PrivateKey | None:
    try:
        kept = parse_model(_Kept, file.read_bytes())
        seed = strict_base64(kept.secret)
    except (OSError, SignwrightError):
        return None
    ours = (kept.url, kept.person, kept.signed_by) == (url, person, key.public.fingerprint)
    if not ours or len(seed) != 32 or now + MARGIN >= parse_time(kept.expires):
        return None
    return Ed25519PrivateKey.from_private_bytes(seed)


def _call_key(secret: Ed25519PrivateKey) -> CallKey:
    return CallKey(key_id_of(secret.public_key().public_bytes_raw()), secret.sign)
