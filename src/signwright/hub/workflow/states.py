# SPDX-License-Identifier: Apache-2.0
"""The states of a request and the one table of moves between them. Nothing else changes a state."""

from __future__ import annotations

from enum import StrEnum

from signwright.errors import ConflictError


class State(StrEnum):
    SUBMITTED = "submitted"
    UPLOADING = "uploading"
    SCANNING = "scanning"
    AWAITING_APPROVAL = "awaiting-approval"
    AUTHORIZED = "authorized"
    SIGNING = "signing"
    COMPLETED = "completed"
    DENIED = "denied"
    REJECTED = "rejected"
    CANCELED = "canceled"
    FAILED = "failed"
    EXPIRED = "expired"


S = State

#: How a request ends without a signature, from anywhere before the signer has it.
_ENDED_EARLY = frozenset({S.DENIED, S.REJECTED, S.CANCELED, S.EXPIRED})
_FORECAST = frozenset({S.SCANNING, S.AWAITING_APPROVAL, S.AUTHORIZED})

#: From → to. ``completed`` is reached from ``signing`` alone, ``signing`` from ``authorized`` alone, and ``authorized``
#: only when every artifact is there and the decision allows it (`signwright.hub.workflow.decide`).
MOVES: dict[State, frozenset[State]] = {
    S.SUBMITTED: _FORECAST | _ENDED_EARLY | {S.UPLOADING},
    S.UPLOADING: _FORECAST | _ENDED_EARLY,
    S.SCANNING: _FORECAST - {S.SCANNING} | _ENDED_EARLY,
    S.AWAITING_APPROVAL: _FORECAST - {S.AWAITING_APPROVAL} | _ENDED_EARLY,
    S.AUTHORIZED: _FORECAST - {S.AUTHORIZED} | _ENDED_EARLY | {S.SIGNING},
    # The signer answers, or its lease ends and the request goes back; what it began cannot be canceled.
    S.SIGNING: frozenset({S.COMPLETED, S.DENIED, S.REJECTED, S.FAILED, S.AUTHORIZED}),
    S.COMPLETED: frozenset(),
    S.DENIED: frozenset(),
    S.REJECTED: frozenset(),
    S.CANCELED: frozenset(),
    S.FAILED: frozenset(),
    S.EXPIRED: frozenset(),
}

FINAL = frozenset(state for state, to in MOVES.items() if not to)
OPEN = frozenset(MOVES) - FINAL
#: Ends after which the same idempotency key may start anew.
ENDED_BADLY = FINAL - {S.COMPLETED}


def check_move(old: State, new: State) -> None:
    """Raises `ConflictError` for a move that the table does not list."""
    if new not in MOVES[old]:
        raise ConflictError(
            f"a request that is {old} cannot become {new}", code="wrong-state", details={"state": str(old)}
        )
