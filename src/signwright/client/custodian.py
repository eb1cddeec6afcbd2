# SPDX-License-Identifier: Apache-2.0
"""The custodian's side: what the gate says waits, read strictly, and a signed word about exactly that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from signwright.client.ssh_keys import PersonKey
from signwright.errors import AuthenticationError, MalformedError, UsageError
from signwright.model.framing import Frame
from signwright.model.operation import Many, Name, Sha256Text, Strict, Time
from signwright.model.spoken import request_id
from signwright.model.times import format_time
from signwright.statements.custodian import (
    NAME,
    Confirmation,
    ShownRequest,
    custodian_payload,
    read_shown,
    shown_sha256,
)
from signwright.statements.dsse import Envelope
from signwright.statements.models import Text
from signwright.statements.parse import validate_model

#: Characters of a request's digest, or of its name at the hub, that name it.
LEAST = 8


class _Policy(Strict):
    version: int
    sha256: Sha256Text


class ConsoleStatus(Strict):
    """What the gate says of itself. ``custodian``: off, release or required; ``custodians``: name → fingerprints."""

    custodian: Name
    keys: Name
    waiting: int
    most: int
    custodians: dict[Name, Many[Text]]
    policy: _Policy
    halts: Many[Sha256Text]


class _Listed(ConsoleStatus):
    challenge: Sha256Text
    since: Many[Time]


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """``content``: the bytes that were shown; ``since``: when it began to wait."""

    shown: ShownRequest
    content: bytes
    since: str

    @property
    def hub_name(self) -> str:
        """How the hub and its clients call the request."""
        return request_id(self.shown.request)

    def as_json(self) -> dict[str, Any]:
        """For ``--output json``: every field as it was shown."""
        more = {"id": self.hub_name, "since": self.since, "shown_sha256": shown_sha256(self.content)}
        return {**self.shown.model_dump(mode="json"), **more}


@dataclass(frozen=True, slots=True)
class Listed:
    """One list of the gate, good for one answer."""

    status: ConsoleStatus
    challenge: str
    rows: tuple[WaitingRequest, ...]


def read_status(message: dict[str, object]) -> ConsoleStatus:
    """Raises `MalformedError`."""
    return validate_model(ConsoleStatus, _bare(message))


def read_list(frame: Frame) -> Listed:
    """Raises `MalformedError`, also for text that could steer a terminal."""
    listed = validate_model(_Listed, _bare(frame.message))
    if len(listed.since) != len(frame.parts):
        raise MalformedError("the gate's list: wanted one part for each request", code="bad-list")
    rows = [
        WaitingRequest(read_shown(part), part, since) for part, since in zip(frame.parts, listed.since, strict=True)
    ]
    return Listed(listed, listed.challenge, tuple(rows))


def _bare(message: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in message.items() if name not in ("type", "id", "ok")}


def pick(listed: Listed, references: Sequence[str]) -> tuple[WaitingRequest, ...]:
    """The requests whose digest, or name at the hub, begins so, each once; raises `UsageError` for any other number."""
    found = {}
    for reference in references:
        rows = [row for row in listed.rows if _named(row, reference)]
        if len(rows) != 1:
            raise UsageError(
                f"{len(rows)} waiting requests begin with {reference[:80]!r}",
                code="no-such-request",
                hint=f"signwright custodian list; at least {LEAST} characters",
            )
        found[rows[0].shown.request] = rows[0]
    return tuple(found.values())


def _named(row: WaitingRequest, reference: str) -> bool:
    return len(reference) >= LEAST and (row.shown.request.startswith(reference) or row.hub_name.startswith(reference))


def name_of(status: ConsoleStatus, key: PersonKey) -> str:
    """Which custodian's key it is; raises `AuthenticationError` when it is nobody's."""
    for name, keys in status.custodians.items():
        if key.public.fingerprint in keys:
            return name
    raise AuthenticationError(
        f"key {key.public.fingerprint} is no custodian's under policy version {status.policy.version}",
        code="no-custodian",
        hint="custodians are the people of the policy who are in the group custodian",
    )


def signed_word(
    listed: Listed, rows: Sequence[WaitingRequest], key: PersonKey, *, reason: str | None, now: datetime
) -> Envelope:
    """A confirmation of ``rows``, or with a ``reason`` their denial."""
    said = Confirmation(
        decision="confirm" if reason is None else "deny",
        person=name_of(listed.status, key),
        challenge=listed.challenge,
        shown=tuple(shown_sha256(row.content) for row in rows),
        reason=reason,
        created=format_time(now),
    )
    return key.sign_statement(custodian_payload(said, [row.shown.request for row in rows]), NAME)
