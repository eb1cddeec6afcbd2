# SPDX-License-Identifier: Apache-2.0
"""Who calls: an RFC 9421 signature on every call, checked before a byte of the body is read.

Replays are known by their nonces. A nonce is written to a small journal before the call goes on, so that a hub that was
killed and started again still knows it; after a power failure the last moments of the journal may be missing, and what
is replayed then meets calls that are idempotent.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from signwright.errors import AuthenticationError, DeniedError, LimitError, SignwrightError, UnavailableError
from signwright.hub.web.problems import problem_response
from signwright.identity.messages import (
    CLOCK_WINDOW,
    MessageParts,
    SignedMessage,
    check_created,
    parse_digest_field,
    parse_signed_message,
)
from signwright.identity.sessions import OpenSession, open_session, session_holds
from signwright.model.times import parse_time
from signwright.policy.policy import Policy
from signwright.statements.dsse import parse_envelope
from signwright.statements.keys import VerifyingKey, verifying_key

OPEN_PATHS = frozenset({"/v1/health", "/openapi.json"})
SESSIONS = "/v1/sessions"
_SIGNED_HEADERS = frozenset(
    {b"signature", b"signature-input", b"content-digest", b"repr-digest", b"upload-offset", b"content-length"}
)
#: Bodies of callers that are not known yet, at a time.
MOST_NEWCOMERS = 32
_NONCE_BYTES = 16
_BUCKET = 120

#: Largest bodies, by the beginning of the path; everything else is small.
_BODY_LIMITS = (
    ("/v1/courier/results", 72 << 20),
    ("/v1/courier/log", 72 << 20),
    ("/v1/policy", 32 << 20),
)
_SMALL_BODY = 256 << 10


@dataclass(frozen=True, slots=True)
class Caller:
    """``name``: KeyId of a credential, name of a person, or ``courier``."""

    kind: Literal["credential", "person", "courier"]
    name: str
    key_id: str


class Nonces:
    """Each nonce once in the clock window. ``folder`` holds the journal: 16 bytes a nonce, a file for 2 minutes."""

    def __init__(self, folder: Path, *, now: int) -> None:
        self._folder = folder
        self._seen: dict[int, set[bytes]] = {}
        self._files: dict[int, int] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.name.isdigit():
                content = path.read_bytes()
                whole = range(0, len(content) - len(content) % _NONCE_BYTES, _NONCE_BYTES)
                self._seen[int(path.name)] = {content[i : i + _NONCE_BYTES] for i in whole}
        self._forget(now)

    def use(self, message: SignedMessage, *, now: int) -> None:
        """Raises `AuthenticationError` for a nonce that was used; `UnavailableError` when it cannot be written down."""
        value = base64.urlsafe_b64decode(message.nonce + "==")
        bucket = message.created // _BUCKET
        if bucket not in self._seen:
            self._forget(now)
        seen = self._seen.setdefault(bucket, set())
        if value in seen:
            raise AuthenticationError("this call was received before", code="replayed-call")
        try:
            os.write(self._file(bucket), value)
        except OSError as problem:
            raise UnavailableError("the nonce journal cannot be written", code="storage-full") from problem
        seen.add(value)

    def _file(self, bucket: int) -> int:
        if bucket not in self._files:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._files[bucket] = os.open(self._folder / str(bucket), flags, 0o600)
        return self._files[bucket]

    def _forget(self, now: int) -> None:
        """Drop what `check_created` refuses anyhow."""
        for bucket in [b for b in self._seen if (b + 1) * _BUCKET + CLOCK_WINDOW < now]:
            del self._seen[bucket]
            if bucket in self._files:
                os.close(self._files.pop(bucket))
            (self._folder / str(bucket)).unlink(missing_ok=True)

    def close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])


class Keyring:
    """Every key that may call: credentials of the policy in force, sessions, the courier."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        *,
        courier_key: str,
        revoked: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self._policy = policy
        self._revoked = revoked
        self._courier = verifying_key(courier_key)
        self.sessions: dict[str, OpenSession] = {}

    def find(self, key_id: str, *, now: datetime) -> tuple[Caller, VerifyingKey] | None:
        """The caller behind a key id, if it is one at this time; raises `AuthenticationError` for a revoked one."""
        if key_id == self._courier.key_id:
            return Caller("courier", "courier", key_id), self._courier
        credential = self._policy().credentials.credentials.get(key_id)
        if credential is not None:
            over = credential.expires is not None and now >= parse_time(credential.expires)
            if credential.disabled or over:
                return None
            self._check_revoked(f"credential {key_id}")
            return Caller("credential", key_id, key_id), verifying_key(credential.public_key)
        session = self.sessions.get(key_id)
        if session is not None and session_holds(self._policy(), session, now=now):
            self._check_revoked(f"person {session.person}")
            return Caller("person", session.person, key_id), session.key
        return None

    def open(self, content: bytes, *, now: datetime) -> OpenSession:
        """Verify a session envelope; it counts once `add` was called."""
        session = open_session(self._policy(), parse_envelope(content), now=now)
        self._check_revoked(f"person {session.person}")
        return session

    def _check_revoked(self, who: str) -> None:
        if who in self._revoked():
            raise AuthenticationError(
                f"{who} was revoked by a freshness statement", code="revoked", hint="ask a policy keeper"
            )

    def add(self, session: OpenSession, *, now: datetime) -> None:
        """Remember a session, and forget those that are over."""
        for key_id in [k for k, s in self.sessions.items() if now >= s.expires]:
            del self.sessions[key_id]
        self.sessions[session.key.key_id] = session


class SignedCalls:
    """ASGI middleware. Handlers find ``caller`` and ``body`` in the state; artifact bodies are left unread."""

    def __init__(
        self, app: ASGIApp, *, keyring: Keyring, nonces: Nonces, clock: Callable[[], datetime], body_seconds: float
    ) -> None:
        self._app = app
        self._body_seconds = body_seconds
        self._newcomers = 0
        self._keyring = keyring
        self._nonces = nonces
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            receive = await self._admit(scope, receive)
        except SignwrightError as problem:
            response = problem_response(problem, close=scope["method"] not in {"GET", "HEAD"})
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive) -> Receive:
        """Authenticate; read and check a small body. Returns how the application receives it."""
        headers = _headers(scope)
        artifact = scope["method"] == "PUT" and scope["path"].startswith("/v1/artifacts/")
        path = scope["raw_path"].decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        parts = MessageParts.received(scope["method"], path, query, headers=headers, artifact=artifact)
        message = parse_signed_message(headers, parts)
        now = self._clock()
        check_created(message, now=int(now.timestamp()))
        known = self._keyring.find(message.key_id, now=now)
        state = scope.setdefault("state", {})
        if known is None and not (scope["path"] == SESSIONS and scope["method"] == "POST"):
            raise AuthenticationError(f"key {message.key_id} is not known here", code="unknown-key")
        if known is not None:
            self._verify(message, known[1], now)
            _check_door(known[0], scope)
            state["caller"] = known[0]
        if artifact:
            state["sha256"] = parse_digest_field(headers["repr-digest"]).hex()
            return _hurried(receive, self._body_seconds)
        body = await (self._stranger_body if known is None else self._body)(scope["path"], headers, receive)
        state["body"] = body
        if known is None:
            state["caller"], state["session"] = self._newcomer(message, body, now)
        return _replay(body, receive)

    async def _body(self, path: str, headers: dict[str, str], receive: Receive) -> bytes:
        return await _read_body(path, headers, _hurried(receive, self._body_seconds))

    async def _stranger_body(self, path: str, headers: dict[str, str], receive: Receive) -> bytes:
        """Of somebody who may be anybody: not many at a time, and the whole body within the time of one piece."""
        if self._newcomers >= MOST_NEWCOMERS:
            raise UnavailableError(f"{MOST_NEWCOMERS} sessions are being opened", code="busy")
        self._newcomers += 1
        try:
            async with asyncio.timeout(self._body_seconds):
                return await self._body(path, headers, receive)
        except TimeoutError:
            raise _slow(self._body_seconds) from None
        finally:
            self._newcomers -= 1

    def _verify(self, message: SignedMessage, key: VerifyingKey, now: datetime) -> None:
        try:
            key.verify("message", message.base, message.value)
        except SignwrightError as problem:
            raise AuthenticationError("the call's signature does not hold", code="bad-message-signature") from problem
        self._nonces.use(message, now=int(now.timestamp()))

    def _newcomer(self, message: SignedMessage, body: bytes, now: datetime) -> tuple[Caller, OpenSession]:
        """The first call of a session is signed by the key that its body introduces."""
        session = self._keyring.open(body, now=now)
        if session.key.key_id != message.key_id:
            raise AuthenticationError("the call is not signed by the session's key", code="unknown-key")
        self._verify(message, session.key, now)
        return Caller("person", session.person, message.key_id), session


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name in _SIGNED_HEADERS:
            if name.decode() in found:
                raise AuthenticationError(f"header {name.decode()!r} stands twice", code="bad-message-signature")
            found[name.decode()] = value.decode("latin-1")
    return found


def _check_door(caller: Caller, scope: Scope) -> None:
    """The courier's door is the courier's alone, and it has no other but the policy."""
    path = scope["path"]
    if path.startswith("/v1/courier/") == (caller.kind == "courier"):
        return
    if caller.kind == "courier" and path == "/v1/policy" and scope["method"] == "GET":
        return
    raise DeniedError(f"{caller.kind} {caller.name} may not call {path[:200]}", code="wrong-door")


async def _read_body(path: str, headers: dict[str, str], receive: Receive) -> bytes:
    """At most the limit of this path, and exactly what ``content-digest`` says."""
    limit = next((size for start, size in _BODY_LIMITS if path.startswith(start)), _SMALL_BODY)
    declared = headers.get("content-length", "0")
    if not declared.isdecimal() or len(declared) > 12 or int(declared) > limit:
        raise LimitError(f"a body of {declared[:40]} bytes; at most {limit}", code="body-too-large")
    pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise UnavailableError("the caller went away", code="disconnected")
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit:
            raise LimitError(f"a body of more than {limit} bytes", code="body-too-large")
        if not message.get("more_body", False):
            break
    body = b"".join(pieces)
    if not hmac.compare_digest(hashlib.sha256(body).digest(), parse_digest_field(headers["content-digest"])):
        raise AuthenticationError("the body is not the one that was signed", code="content-digest-mismatch")
    return body


def _hurried(receive: Receive, seconds: float) -> Receive:
    """``receive`` that waits for each piece of a body no longer than ``seconds``; raises `UnavailableError` then."""

    async def piece() -> Message:
        try:
            async with asyncio.timeout(seconds):
                return await receive()
        except TimeoutError:
            raise _slow(seconds) from None

    return piece


def _slow(seconds: float) -> UnavailableError:
    return UnavailableError(f"the body did not come within {seconds:.0f} s", code="slow-body")


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, then whatever comes."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again
