# SPDX-License-Identifier: Apache-2.0
"""HTTP message signatures (RFC 9421) on calls to the hub, in the one form that both sides write and read.

Covered: method, path and query, and either ``content-digest`` (RFC 9530) or, for the bytes of an artifact,
``repr-digest`` of the whole file with ``upload-offset`` and ``content-length``, so that nothing is hashed twice.
Label ``sig1``, parameters ``created``, ``nonce``, ``keyid``, ``alg="ed25519"``, ``tag="signwright"``, in that order;
any other form is refused.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from signwright.errors import AuthenticationError, MalformedError
from signwright.model.base64text import strict_base64

#: How far ``created`` may be from the server's clock, in seconds.
CLOCK_WINDOW = 300
#: How long a server remembers a nonce, in seconds: both halves of the window.
NONCE_LIFETIME = 2 * CLOCK_WINDOW
MAX_SIGNED_FIELD = 4096

BODY_FIELDS = ("content-digest",)
ARTIFACT_FIELDS = ("repr-digest", "upload-offset", "content-length")

_DERIVED = '"@method" "@path" "@query"'
_COVERED: dict[tuple[str, ...], str] = {
    BODY_FIELDS: f'({_DERIVED} "content-digest")',
    ARTIFACT_FIELDS: f'({_DERIVED} "repr-digest" "upload-offset" "content-length")',
}
_PARAMETERS = re.compile(
    r'(?P<covered>\([ -~]{0,200}?\));created=(?P<created>[1-9][0-9]{0,11});nonce="(?P<nonce>[A-Za-z0-9_-]{22})"'
    r';keyid="(?P<keyid>swk_[a-z2-7]{20})";alg="ed25519";tag="signwright"'
)
_NONCE = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True, slots=True)
class MessageParts:
    """What a signature covers. ``path`` and ``query`` as in the request line, percent-encoded, without ``?``.

    ``fields``: names (`BODY_FIELDS` or `ARTIFACT_FIELDS`) and values of the covered header fields.
    """

    method: str
    path: str
    query: str
    fields: tuple[tuple[str, str], ...]

    @classmethod
    def with_body(cls, method: str, path: str, query: str, body: bytes) -> MessageParts:
        """Parts of a call whose body is in memory; ``b""`` where there is none."""
        return cls(method, path, query, (("content-digest", digest_field(hashlib.sha256(body).digest())),))

    @classmethod
    def with_artifact(
        cls, method: str, path: str, query: str, *, sha256: str, offset: int, length: int
    ) -> MessageParts:
        """Parts of a call with ``length`` bytes from ``offset`` of the file whose whole SHA-256 is given in hex."""
        values = (digest_field(bytes.fromhex(sha256)), str(offset), str(length))
        return cls(method, path, query, tuple(zip(ARTIFACT_FIELDS, values, strict=True)))

    @classmethod
    def received(
        cls, method: str, path: str, query: str, *, headers: Mapping[str, str], artifact: bool = False
    ) -> MessageParts:
        """Parts of a call that came in; ``headers``: lower-case names. Raises `AuthenticationError` without a field."""
        names = ARTIFACT_FIELDS if artifact else BODY_FIELDS
        missing = [name for name in names if name not in headers]
        if missing:
            raise AuthenticationError(f"header {missing[0]!r} is missing; it must be signed", code="not-signed")
        if any(len(headers[name]) > MAX_SIGNED_FIELD for name in names):
            raise AuthenticationError("a signed header is too long", code="bad-message-signature")
        return cls(method, path, query, tuple((name, headers[name]) for name in names))


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A well-formed signature; nobody has verified it. ``base``: the bytes that ``value`` must verify over."""

    key_id: str
    created: int
    nonce: str
    base: bytes
    value: bytes


def digest_field(sha256: bytes) -> str:
    """``Content-Digest`` or ``Repr-Digest`` of a raw SHA-256 (RFC 9530, section 2)."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def parse_digest_field(text: str) -> bytes:
    """The raw SHA-256 in ``Content-Digest`` or ``Repr-Digest``; raises `MalformedError` for any other form."""
    if not (text.startswith("sha-256=:") and text.endswith(":") and len(text) == 54):
        raise MalformedError(f"digest field {text[:80]!r}; wanted sha-256=:…:", code="bad-digest-field")
    return strict_base64(text[9:-1])


def signature_base(parts: MessageParts, parameters: str) -> bytes:
    """RFC 9421, section 2.5. ``parameters``: what follows ``sig1=`` in ``Signature-Input``."""
    lines = [f'"@method": {parts.method}', f'"@path": {parts.path}', f'"@query": ?{parts.query}']
    lines += [f'"{name}": {value}' for name, value in parts.fields]
    lines.append(f'"@signature-params": {parameters}')
    return "\n".join(lines).encode("ascii")


def sign_message(
    parts: MessageParts, *, key_id: str, sign: Callable[[bytes], bytes], created: int, nonce: str
) -> dict[str, str]:
    """The headers to add, names in lower case, the covered fields among them.

    ``sign``: Ed25519 over the bytes given; ``created``: seconds since 1970; ``nonce``: 128 random bits in base64url
    without padding.
    """
    if not _NONCE.fullmatch(nonce):
        raise MalformedError("a nonce is 22 base64url characters", code="bad-nonce")
    covered = _COVERED[tuple(name for name, _ in parts.fields)]
    parameters = f'{covered};created={created};nonce="{nonce}";keyid="{key_id}";alg="ed25519";tag="signwright"'
    value = base64.b64encode(sign(signature_base(parts, parameters))).decode()
    return {**dict(parts.fields), "signature-input": f"sig1={parameters}", "signature": f"sig1=:{value}:"}


def parse_signed_message(headers: Mapping[str, str], parts: MessageParts) -> SignedMessage:
    """The signature on a call that came in; ``headers``: lower-case names. Verification with the key is the caller's.

    Raises `AuthenticationError` for a call without a signature, and for one in any form but ours.
    """
    if "signature-input" not in headers or "signature" not in headers:
        raise AuthenticationError("the call carries no RFC 9421 signature", code="not-signed")
    stated = headers["signature-input"]
    match = _PARAMETERS.fullmatch(stated.removeprefix("sig1=")) if len(stated) <= 512 else None
    if match is None or not stated.startswith("sig1="):
        raise AuthenticationError("signature-input is not in the form that we read", code="bad-message-signature")
    if match["covered"] != _COVERED[tuple(name for name, _ in parts.fields)]:
        raise AuthenticationError(
            f"the signature covers {match['covered']}; wanted {_COVERED[tuple(name for name, _ in parts.fields)]}",
            code="bad-message-signature",
        )
    value = _signature_value(headers["signature"])
    try:
        base = signature_base(parts, stated.removeprefix("sig1="))
    except UnicodeEncodeError as problem:
        raise AuthenticationError("a covered part is not ASCII", code="bad-message-signature") from problem
    return SignedMessage(match["keyid"], int(match["created"]), match["nonce"], base, value)


def _signature_value(field: str) -> bytes:
    try:
        if not (field.startswith("sig1=:") and field.endswith(":") and len(field) == 95):
            raise MalformedError("not sig1=:…: with 64 bytes")
        return strict_base64(field[6:-1])
    except MalformedError as problem:
        raise AuthenticationError("signature is not in our form", code="bad-message-signature") from problem


def check_created(message: SignedMessage, *, now: int) -> None:
    """Raises `AuthenticationError` when ``created`` is more than `CLOCK_WINDOW` seconds from ``now``."""
    off = message.created - now
    if abs(off) > CLOCK_WINDOW:
        raise AuthenticationError(
            f"the call's clock is {abs(off)} s {'ahead' if off > 0 else 'behind'}; wanted at most {CLOCK_WINDOW} s",
            code="clock-skew",
            hint="set the clock of the calling machine",
            details={"server_time": now},
        )
