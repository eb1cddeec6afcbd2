# SPDX-License-Identifier: Apache-2.0
"""A timestamp token for a signature value, by errand, from the first authority of the policy whose token holds."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from signwright.errors import SignwrightError, TimestampError
from signwright.model.digest import Digest
from signwright.policy.documents import TimestampAuthority
from signwright.signer.channel import number_field
from signwright.signer.gate.errands import Errands
from signwright.signer.gate.policy import Opened
from signwright.timestamps.authorities import Attempt, Round
from signwright.timestamps.query import timestamp_query
from signwright.timestamps.reply import token_of_reply
from signwright.timestamps.token import verify_token

#: How far the clocks of gate and authority may differ.
TOLERANCE = timedelta(minutes=1)
#: Seconds between one round of all authorities and the next, for the same value.
PAUSES = (0.5, 1.0, 2.0)
_OK = 200


@dataclass(frozen=True, slots=True)
class Stamp:
    """``token``: DER, as received; ``where``: whether the authority is outside this host."""

    token: bytes
    where: Literal["outside", "local"]


class Timestamps:
    """``now``: aware UTC."""

    def __init__(self, errands: Errands, *, now: Callable[[], datetime]) -> None:
        self._errands = errands
        self._now = now

    def check_someone_answers(self, opened: Opened, *, outside_only: bool) -> None:
        """Before a key is used: raise `TimestampError` when there is nobody left to ask."""
        authorities = _usable(opened, outside_only=outside_only)
        now = time.monotonic()
        if opened.authorities is None or all(opened.authorities.is_open(name, now) for name in authorities):
            wait = min((_seconds_left(opened, name, now) for name in authorities), default=None)
            when = "" if wait is None else f"; the next one is asked again in {wait:.0f} s"
            raise TimestampError(f"every timestamp authority failed lately or may not be asked for this policy{when}")

    async def stamp(self, opened: Opened, signature_value: bytes, *, outside_only: bool) -> Stamp:
        """A verified token over ``signature_value``; raises `TimestampError` that names each authority and its
        cause.

        The key was used for this value, and each use is one of few: so authorities are asked again, after a pause that
        grows, before the value is given up.
        """
        usable = _usable(opened, outside_only=outside_only)
        if opened.authorities is None:
            raise TimestampError("the policy lists no timestamp authority")
        imprint = Digest.of(signature_value)
        current = opened.authorities.begin(time.monotonic())
        for pause in (*PAUSES, None):
            stamp = await self._stamped(current, usable, imprint)
            if stamp is not None:
                return stamp
            if pause is None or not usable or time.monotonic() + pause >= current.deadline:
                break
            await asyncio.sleep(pause)
            current = Round(opened.authorities, current.deadline, anyway=True)
        raise current.error()

    async def _stamped(self, current: Round, usable: Mapping[str, TimestampAuthority], imprint: Digest) -> Stamp | None:
        """The token of the first authority of one round whose token holds; None when there is none."""
        while (attempt := current.next_attempt(time.monotonic())) is not None:
            authority = usable.get(attempt.name)
            if authority is None:
                continue
            try:
                token = await self._ask(attempt, authority, imprint)
            except SignwrightError as problem:
                current.failed(attempt.name, problem, now=time.monotonic())
                continue
            current.succeeded(attempt.name)
            return Stamp(token, "outside" if authority.outside else "local")
        return None

    async def _ask(self, attempt: Attempt, authority: TimestampAuthority, imprint: Digest) -> bytes:
        nonce = secrets.randbits(64)
        asked_at = self._now()
        fields: dict[str, object] = {"authority": attempt.name}
        query = timestamp_query(imprint, nonce)
        answer = await self._errands.run("timestamp", fields, [query], seconds=attempt.seconds)
        status = number_field(answer.message, "status")
        if status != _OK or len(answer.parts) != 1:
            raise TimestampError(f"HTTP status {status}; wanted 200", code="timestamp-http-status")
        token = token_of_reply(answer.parts[0])
        verify_token(
            token,
            imprint=imprint,
            nonce=nonce,
            anchors=[base64.b64decode(anchor) for anchor in authority.anchors],
            not_before=asked_at - TOLERANCE,
            not_after=self._now() + TOLERANCE,
        )
        return token


def _seconds_left(opened: Opened, name: str, now: float) -> float:
    return opened.authorities.seconds_until_closed(name, now) if opened.authorities is not None else 0.0


def _usable(opened: Opened, *, outside_only: bool) -> dict[str, TimestampAuthority]:
    listed = opened.policy.services.timestamp_authorities
    return {authority.name: authority for authority in listed if authority.outside or not outside_only}
