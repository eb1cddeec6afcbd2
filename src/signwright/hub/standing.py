# SPDX-License-Identifier: Apache-2.0
"""What keepers said beside the policy, as this hub has it: to be carried to the signer, and to forecast from.

The hub verifies it only so that nobody can fill its tables; the signer believes none of it before it has verified it
again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from signwright.errors import SignwrightError
from signwright.hub.workflow.ports import KeepersWord
from signwright.policy.facts import VerifiedFreshness, verified_freshness
from signwright.policy.halting import halting_keys
from signwright.policy.incoming import check_not_ahead
from signwright.policy.policy import Policy
from signwright.policy.succession import has_ended, opened_halt, opened_resume
from signwright.statements.dsse import Envelope, parse_envelope
from signwright.statements.models import Resume, parse_statement

#: In the order in which the gate hears them.
KINDS = ("freshness", "halt", "resume")


@dataclass(frozen=True)
class Standing:
    """Replaced as a whole when a word is added. ``words``: in the order in which they came."""

    words: tuple[KeepersWord, ...] = ()

    @cached_property
    def ordered(self) -> tuple[KeepersWord, ...]:
        """As the gate wants to hear them; of freshness statements the newest."""
        newest = [word for word in self.words if word.kind == "freshness"][-1:]
        return (*newest, *(word for kind in KINDS[1:] for word in self.words if word.kind == kind))

    @cached_property
    def sha256(self) -> str | None:
        """Names this set of words, so that a courier can say that it has carried it; None for no words."""
        if not self.words:
            return None
        return hashlib.sha256("\n".join(word.digest for word in self.ordered).encode()).hexdigest()

    @property
    def freshness(self) -> KeepersWord | None:
        return next((word for word in self.ordered if word.kind == "freshness"), None)

    def verified_freshness(self, policy: Policy) -> VerifiedFreshness | None:
        """None also when a new root no longer knows its signers."""
        if self.freshness is None:
            return None
        try:
            return verified_freshness(policy, parse_envelope(self.freshness.envelope))
        except SignwrightError:
            return None

    def with_word(self, word: KeepersWord, ends: Sequence[str]) -> Standing:
        """After ``word``, which ends the halts of these digests."""
        kept = [one for one in self.words if word.kind != "freshness" or one.kind != "freshness"]
        resumed = [replace(one, resumed_at=word.number) if one.digest in ends else one for one in kept]
        # In the order of the database, so that a restart changes nothing.
        return Standing(tuple(sorted((*resumed, word), key=lambda one: (one.kind, one.number, one.digest))))

    def resumed(self, word: KeepersWord) -> KeepersWord:
        """A halt whose resume came first, by another way, does not halt again."""
        found = [one for one in self.words if one.kind == "resume" and word.digest in _ends(one)]
        return replace(word, number=0, resumed_at=found[-1].number) if found and word.kind == "halt" else word

    def halts(self, policy_version: int) -> list[KeepersWord]:
        """Those that are not over."""
        found = [word for word in self.words if word.kind == "halt"]
        return [word for word in found if not has_ended(word.number, word.resumed_at, policy_version)]

    def unanswered(self, policy_version: int) -> list[frozenset[str]]:
        """`halting_keys` of each open halt that no resume names."""
        return [halting_keys(word.envelope) for word in self.halts(policy_version) if word.resumed_at is None]

    def has(self, word: KeepersWord) -> bool:
        """Whether it came before."""
        return any(one.digest == word.digest for one in self.words)


def _ends(resume: KeepersWord) -> Sequence[str]:
    return parse_statement(parse_envelope(resume.envelope), Resume).predicate.halts


def _freshness(policy: Policy, envelope: Envelope) -> tuple[str, int, Sequence[str]]:
    statement = verified_freshness(policy, envelope).statement
    return statement.digest, statement.predicate.number, ()


def _halt(policy: Policy, envelope: Envelope) -> tuple[str, int, Sequence[str]]:
    return opened_halt(policy, envelope).digest, policy.version, ()


def _resume(policy: Policy, envelope: Envelope) -> tuple[str, int, Sequence[str]]:
    statement = opened_resume(policy, envelope)
    return statement.digest, statement.predicate.policy_version, statement.predicate.halts


_OPENED: dict[str, Callable[[Policy, Envelope], tuple[str, int, Sequence[str]]]] = {
    "freshness": _freshness,
    "halt": _halt,
    "resume": _resume,
}


def opened_word(policy: Policy, kind: str, content: bytes, *, now: datetime) -> tuple[KeepersWord, Sequence[str]]:
    """A word whose signature holds, and the digests of the halts that it ends; raises `SignwrightError`."""
    envelope = parse_envelope(content)
    if kind == "freshness":
        check_not_ahead(verified_freshness(policy, envelope), now=now)
    digest, number, ends = _OPENED[kind](policy, envelope)
    return KeepersWord(kind, digest, number, envelope.encode()), ends
