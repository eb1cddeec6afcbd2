# SPDX-License-Identifier: Apache-2.0
"""What keepers say besides the policy: freshness, halt, resume. Drafts to be signed, as bytes.

Signing, alone or one keeper after the other, is `signwright.client.partial`; the subject of each is a policy root.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from signwright.client.partial import check_keeper
from signwright.client.ssh_keys import PersonKey
from signwright.model.times import format_time
from signwright.policy.policy import Policy
from signwright.statements.dsse import Envelope
from signwright.statements.models import MAX_HALTS, Freshness, Halt, Resume
from signwright.statements.writing import statement_payload

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
    halts: Sequence[str] = (),
) -> bytes:
    """Nothing beside this was revoked, as of ``now``. ``halts``: digests of those that are not over."""
    said = Freshness(
        number=number,
        minimum_policy_version=minimum_policy_version,
        revoked_credentials=tuple(sorted(set(revoked_credentials))),
        revoked_people=tuple(sorted(set(revoked_people))),
        halts=tuple(sorted(set(halts))[:MAX_HALTS]),  # one is enough to stop releases
        created=format_time(now),
        expires=format_time(now + timedelta(hours=hours)),
    )
    return statement_payload(said, [(SUBJECT, root_sha256)])


def draft_halt(root_sha256: str, *, reason: str, now: datetime) -> bytes:
    """Stop signing."""
    said = Halt(reason=reason, nonce=secrets.token_hex(16), created=format_time(now))
    return statement_payload(said, [(SUBJECT, root_sha256)])


def draft_resume(root_sha256: str, *, halts: Sequence[str], policy_version: int, reason: str, now: datetime) -> bytes:
    """These halts (hex digests) end as soon as a policy of this version is in force."""
    said = Resume(halts=tuple(halts), policy_version=policy_version, reason=reason, created=format_time(now))
    return statement_payload(said, [(SUBJECT, root_sha256)])


def first_freshness(policy: Policy, keeper: PersonKey, *, now: datetime) -> Envelope:
    """Number 1, which comes with the first policy and holds as long as that policy allows."""
    payload = draft_freshness(
        policy.root_sha256,
        number=1,
        minimum_policy_version=policy.version,
        now=now,
        hours=policy.organisation.freshness_hours,
    )
    check_keeper(keeper, [policy.root.freshness], "a freshness keeper")
    return keeper.sign_statement(payload, "freshness")
