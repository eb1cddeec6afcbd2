# SPDX-License-Identifier: Apache-2.0
"""Signed calls to a hub: each carries an RFC 9421 message signature of a credential's or a session's key.

A call is sent again, with a fresh nonce, only when the connection was lost or the hub asked for patience, and only
when doing it twice is the same as doing it once.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from signwright import errors
from signwright.errors import LimitError, SignwrightError, UnavailableError, UsageError
from signwright.identity.addresses import is_loopback
from signwright.identity.messages import MessageParts, sign_message
from signwright.statements.parse import MAX_MANIFEST, strict_json

if TYPE_CHECKING:
    import httpx

ATTEMPTS = 4
FIRST_PAUSE = 0.25
CONNECT_SECONDS = 10.0
READ_SECONDS = 90.0
#: Bytes of an answer that is held in memory: the largest result, and a little more.
MAX_ANSWER = 72 << 20
#: Set to 1 it allows plain HTTP to other machines, for closed networks that protect the way themselves.
PLAIN_HTTP_VARIABLE = "SIGNWRIGHT_ALLOW_PLAIN_HTTP"

_BY_STATUS: dict[int, type[SignwrightError]] = {
    400: errors.MalformedError,
    401: errors.AuthenticationError,
    403: errors.DeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    410: errors.NotFoundError,
    413: errors.LimitError,
    422: errors.VerificationError,
    429: errors.LimitError,
    502: errors.UnavailableError,
    503: errors.UnavailableError,
    504: errors.UnavailableError,
}


@dataclass(frozen=True, slots=True)
class CallKey:
    """``sign``: Ed25519 over the bytes given, by the key that the hub knows as ``key_id``."""

    key_id: str
    sign: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """``headers``: lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> object:
        """The body under the one strict parser."""
        return strict_json(self.body, limit=MAX_MANIFEST, depth=16)


def check_transport(url: str) -> None:
    """Raises `UsageError` for plain HTTP to another machine: whoever is on the way reads artifacts and answers."""
    if urlsplit(url).scheme == "https" or is_loopback(url) or os.environ.get(PLAIN_HTTP_VARIABLE) == "1":
        return
    raise UsageError(
        f"{url[:200]}: plain HTTP to another machine is refused; wanted https://",
        code="plain-http",
        hint=f"put a TLS server in front of the hub, or {PLAIN_HTTP_VARIABLE}=1 where the network protects the way",
    )


class HubConnection:
    """One hub, one key (None: unsigned calls only). Close it, or use it in ``with``.

    Raises `UsageError` for plain HTTP to another machine (`check_transport`), unless ``own_machine`` says that it is
    ours.
    """

    def __init__(
        self, url: str, key: CallKey | None, *, read_seconds: float = READ_SECONDS, own_machine: bool = False
    ) -> None:
        # httpx takes its own command line in when it finds rich, and that costs more than all the rest of it.
        sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
        import httpx

        if not own_machine:
            check_transport(url)
        self.url = url.rstrip("/")
        self._key = key
        timeout = httpx.Timeout(read_seconds, connect=CONNECT_SECONDS)
        # What stays on this machine goes through no proxy, whatever the environment says.
        self._http = httpx.Client(
            timeout=timeout,
            follow_redirects=False,
            headers={"user-agent": "signwright"},
            trust_env=not (own_machine or is_loopback(url)),
        )

    def use(self, key: CallKey) -> None:
        """Sign the calls to come with another key."""
        self._key = key

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
        expect: tuple[int, ...] = (200, 201, 202, 204),
        seconds: float | None = None,
    ) -> Answer:
        """Raises the error that the hub's problem document names, or `UnavailableError` without an answer.

        ``path`` and ``query`` percent-encoded; ``repeatable``: may be sent again after a lost connection; ``expect``:
        status codes that are answers and not errors; ``seconds``: to wait for an answer.
        """
        parts = MessageParts.with_body(method, path, query, body)
        for attempt in range(ATTEMPTS if repeatable else 1):
            last = attempt == ATTEMPTS - 1 or not repeatable
            with self._lost_connections(last=last, attempt=attempt):
                answer = self._send(parts, body, dict(headers or {}), seconds)
                if answer.status in (429, 503) and not last and "retry-after" in answer.headers:
                    time.sleep(_patience(answer.headers["retry-after"], attempt))
                    continue
                if answer.status not in expect:
                    raise problem_of(answer)
                return answer
        raise AssertionError("the last attempt returns or raises")

    def upload(self, path: str, content: Iterator[bytes], *, sha256: str, offset: int, length: int) -> Answer:
        """One ``PUT`` of ``length`` bytes from ``offset``, streamed; 409 is an answer. Never sent again by itself."""
        parts = MessageParts.with_artifact("PUT", path, "", sha256=sha256, offset=offset, length=length)
        headers = {**self._signed(parts), "content-type": "application/octet-stream"}
        with self._lost_connections(last=True, attempt=0):
            with self._http.stream("PUT", self.url + path, content=content, headers=headers) as response:
                answer = _answer(response)
        if answer.status not in (200, 201, 204, 409):
            raise problem_of(answer)
        return answer

    @contextmanager
    def download(self, path: str, *, offset: int = 0) -> Iterator[Iterator[bytes]]:
        """The body of a ``GET`` in blocks, from ``offset`` on; raises like `call`."""
        parts = MessageParts.with_body("GET", path, "", b"")
        headers = {**self._signed(parts), **({"range": f"bytes={offset}-"} if offset else {})}
        with self._lost_connections(last=True, attempt=0):
            with self._http.stream("GET", self.url + path, headers=headers) as response:
                if response.status_code != (206 if offset else 200):
                    raise problem_of(_answer(response))
                yield response.iter_bytes(1 << 20)

    def _send(self, parts: MessageParts, body: bytes, headers: dict[str, str], seconds: float | None) -> Answer:
        import httpx

        url = self.url + parts.path + (f"?{parts.query}" if parts.query else "")
        signed = {**headers, **self._signed(parts)}
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS) if seconds is not None else self._http.timeout
        with self._http.stream(parts.method, url, content=body or None, headers=signed, timeout=timeout) as response:
            return _answer(response)

    def _signed(self, parts: MessageParts) -> dict[str, str]:
        if self._key is None:
            return {}
        nonce = secrets.token_urlsafe(16)
        return sign_message(parts, key_id=self._key.key_id, sign=self._key.sign, created=int(time.time()), nonce=nonce)

    @contextmanager
    def _lost_connections(self, *, last: bool, attempt: int) -> Iterator[None]:
        """A lost connection is waited out, and the last one raises `UnavailableError`."""
        import httpx

        try:
            yield
        except (httpx.TransportError, httpx.StreamError) as problem:
            if last:
                raise UnavailableError(
                    f"{self.url}: {type(problem).__name__}: {str(problem)[:200] or 'no answer'}",
                    code="hub-unreachable",
                    hint="is the hub running, and is SIGNWRIGHT_URL its address?",
                ) from problem
            time.sleep(_patience(None, attempt))


def _answer(response: httpx.Response) -> Answer:
    """The whole answer; raises `LimitError` for a body beyond `MAX_ANSWER`."""
    body = bytearray()
    for block in response.iter_bytes():
        body += block
        if len(body) > MAX_ANSWER:
            raise LimitError(f"the hub's answer has more than {MAX_ANSWER} bytes", code="answer-too-large")
    return Answer(response.status_code, dict(response.headers), bytes(body))


def _patience(retry_after: str | None, attempt: int) -> float:
    """Seconds to wait: what the hub asks for, at most 30, or a random part of a doubling pause (full jitter)."""
    if retry_after is not None and retry_after.isdigit():
        return min(float(retry_after), 30.0)
    return random.uniform(0.05, FIRST_PAUSE * 2**attempt)  # noqa: S311 - spreads load, keeps no secret


def problem_of(answer: Answer) -> SignwrightError:
    """The error in a problem document (RFC 9457); what has another form becomes an error that says so."""
    kind = _BY_STATUS.get(answer.status, SignwrightError)
    try:
        document = answer.json()
    except SignwrightError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("code"), str):
        return _plain(kind, f"the hub answered with status {answer.status} and no problem document", code=None)
    text = str(document.get("detail") or document.get("title") or document["code"])
    found = _plain(kind, text, code=str(document["code"]))
    found.hint = str(document["hint"]) if document.get("hint") else None
    rest = {k: v for k, v in document.items() if k not in ("type", "title", "detail", "code", "hint", "status")}
    found.details.update(rest)
    return found


def _plain(kind: type[SignwrightError], message: str, *, code: str | None) -> SignwrightError:
    return kind(message, code=code)
