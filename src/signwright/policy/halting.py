# SPDX-License-Identifier: Apache-2.0
"""How often one panic key may halt before anybody resumes. Hub and gate ask; the keyholder takes every halt."""

from __future__ import annotations

from collections.abc import Iterable

from signwright.errors import LimitError
from signwright.policy.policy import Policy
from signwright.statements.dsse import parse_envelope
from signwright.statements.keys import verifying_key

#: Open halts of one panic key: more say nothing new. One resume can name those of all 16 keys.
MAX_HALTS_OF_KEY = 4


def halting_keys(halt: bytes) -> frozenset[str]:
    """Key ids that a verified halt's envelope names; none of one of which only the leaf is known (empty)."""
    return frozenset(signature.keyid for signature in parse_envelope(halt).signatures) if halt else frozenset()


def check_flood(policy: Policy, halt: bytes, unanswered: Iterable[frozenset[str]]) -> None:
    """Raises `LimitError` when each panic key that signed ``halt`` has halted often enough.

    ``unanswered``: `halting_keys` of each open halt that no resume names. Whoever has one key could otherwise fill the
    log, keep others from halting, and have keepers sign resumes without end.
    """
    rows = list(unanswered)
    panic = {verifying_key(text).key_id for text in policy.root.panic.keys}
    if all(sum(key in row for row in rows) >= MAX_HALTS_OF_KEY for key in halting_keys(halt) & panic):
        raise LimitError("signing is halted, and often enough by this key alone", code="halted-enough")
