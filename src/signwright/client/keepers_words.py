# SPDX-License-Identifier: Apache-2.0
"""What keepers say besides the policy: freshness, halt, resume. Made, signed by one or by several, and read back."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from signwright.client.ssh_keys import PersonKey
from signwright.errors import ConflictError, DeniedError
from signwright.model.times import format_time
from signwright.policy.policy import Policy, signers_of
from signwright.statements.dsse import Envelope
from signwright.statements.models import Freshness, Halt, Resume, Role, statement_payload

#: Name of the subject of each of them.
SUBJECT = "policy-root"


def draft_freshness(
    root_sha256: str,
    *,
    number: int,
    minimum_policy_version: int,
    now: datetime,
    hours: int,
    revoked_credentials: Sequence[str] = (),
    revoked_people: Sequence[str] = (),
) -> bytes:
    """The payload to sign: nothing beside this was revoked, as of ``now``."""
    said = Freshness(
        number=number,
        minimum_policy_version=minimum_policy_version,
        revoked_credentials=tuple(sorted(set(revoked_credentials))),
        revoked_people=tuple(sorted(set(revoked_people))),
        created=format_time(now),
        expires=format_time(now + timedelta(hours=hours)),
    )
    return statement_payload(said, [(SUBJECT, root_sha256)])


def draft_halt(root_sha256: str, *, reason: str, now: datetime) -> bytes:
    """The payload to sign: stop signing."""
    said = Halt(reason=reason, nonce=secrets.token_hex(16), created=format_time(now))
    return statement_payload(said, [(SUBJECT, root_sha256)])


def draft_resume(root_sha256: str, *, halts: Sequence[str], policy_version: int, reason: str, now: datetime) -> bytes:
    """The payload to sign: these halts (hex digests) end as soon as a policy of this version is in force."""
    said = Resume(halts=tuple(halts), policy_version=policy_version, reason=reason, created=format_time(now))
    return statement_payload(said, [(SUBJECT, root_sha256)])


def holds_role(key: PersonKey, role: Role) -> bool:
    """Whether ``key`` is one of the role's."""
    return any(key.public.line == " ".join(text.split()[:2]) for text in role.keys)


def sign_word(
    payload: bytes, name: str, *, keys: Sequence[PersonKey], role: Role, before: Envelope | None = None
) -> Envelope:
    """``payload`` signed by every key, beside the signatures of ``before``, an envelope of the same payload.

    Raises `DeniedError` for a key that is not of the role, `ConflictError` when ``before`` is about something else.
    """
    if before is not None and before.payload != payload:
        raise ConflictError(f"{name}: the partly signed statement is another one", code="other-statement")
    signatures = {one.keyid: one for one in before.signatures} if before else {}
    for key in keys:
        if not holds_role(key, role):
            raise DeniedError(
                f"key {key.public.fingerprint} is not one of the {len(role.keys)} that may sign a {name}",
                code="not-a-keeper",
                hint="the policy root lists them; another keeper must sign",
            )
        (signature,) = key.sign_statement(payload, name).signatures
        signatures[signature.keyid] = signature
    return Envelope(payload, tuple(signatures.values()))


def missing_signatures(envelope: Envelope, name: str, role: Role) -> int:
    """How many keepers must still sign."""
    return max(0, role.threshold - signers_of(envelope, name, role))


def first_freshness(policy: Policy, keeper: PersonKey, *, now: datetime) -> Envelope:
    """Number 1, which comes with the first policy and holds as long as that policy allows."""
    payload = draft_freshness(
        policy.root_sha256,
        number=1,
        minimum_policy_version=policy.version,
        now=now,
        hours=policy.organisation.freshness_hours,
    )
    return sign_word(payload, "freshness", keys=[keeper], role=policy.root.freshness)
