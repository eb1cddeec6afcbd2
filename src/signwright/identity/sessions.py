# SPDX-License-Identifier: Apache-2.0
"""Sessions: a person lends their name to a fresh Ed25519 key, good for reading and posting, never for approving."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from signwright.errors import AuthenticationError
from signwright.model.times import parse_time
from signwright.policy.policy import Policy
from signwright.statements.dsse import Envelope
from signwright.statements.keys import VerifyingKey, verify_envelope, verifying_key
from signwright.statements.models import parse_statement
from signwright.statements.session import Session

MAX_SESSION = timedelta(hours=8)
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class OpenSession:
    """``key``: the session key; ``signed_by``: key id of the person's key, which must stay enrolled."""

    person: str
    key: VerifyingKey
    signed_by: str
    expires: datetime


def session_subject(public_key: str) -> tuple[str, str]:
    """The one subject of a session statement: name and hex SHA-256 of the key's written form."""
    return "session-key", hashlib.sha256(public_key.encode()).hexdigest()


def open_session(policy: Policy, envelope: Envelope, *, now: datetime) -> OpenSession:
    """Verify a session statement against the people of ``policy``; raises `AuthenticationError`."""
    statement = parse_statement(envelope, Session)
    word = statement.predicate
    person = policy.people.people.get(word.person)
    if person is None or person.disabled:
        raise AuthenticationError(f"{word.person!r} is not enrolled", code="unknown-person")
    signed = verify_envelope(envelope, "session", list(person.keys))
    if not signed:
        raise AuthenticationError(f"the session is not signed by a key of {word.person!r}", code="unknown-person")
    created, expires = parse_time(word.created), parse_time(word.expires)
    if created > now + CLOCK_SKEW or now >= expires or expires - created > MAX_SESSION:
        raise AuthenticationError(
            f"session from {word.created} to {word.expires}; wanted one that holds now, for at most 8 h",
            code="session-time",
        )
    if statement.subjects[0].digest.sha256 != session_subject(word.public_key)[1]:
        raise AuthenticationError("the session's subject is not its key", code="wrong-subject")
    key = verifying_key(word.public_key)
    if key.scheme != "ed25519":
        raise AuthenticationError(f"a session key of scheme {key.scheme}; wanted ed25519", code="bad-session-key")
    return OpenSession(word.person, key, signed[0].key_id, expires)


def session_holds(policy: Policy, session: OpenSession, *, now: datetime) -> bool:
    """True while the session is young enough and the person and the key that opened it are still enrolled."""
    person = policy.people.people.get(session.person)
    if person is None or person.disabled or now >= session.expires:
        return False
    return any(verifying_key(text).key_id == session.signed_by for text in person.keys)
