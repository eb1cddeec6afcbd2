# SPDX-License-Identifier: Apache-2.0
"""The keyholder's messages that are no orders: policy, leaves, start, halt, resume. Memory and clock are not here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from signwright.errors import ConfigurationError, DeniedError
from signwright.model.framing import Frame
from signwright.model.times import format_time, parse_time
from signwright.policy.following import check_profile, window
from signwright.policy.policy import Policy, open_policy
from signwright.policy.reading import Reading, ReadingMemory
from signwright.policy.succession import check_policy_change, has_ended, opened_halt, opened_resume
from signwright.statements.dsse import parse_envelope


class StandingMemory(ReadingMemory, Protocol):
    """Durable; none of it ever goes back."""

    @property
    def root_sha256(self) -> str: ...

    @property
    def starts(self) -> int:
        """How often a process came up with this memory, this one included."""
        ...

    def accept_policy(self, version: int, sha256: str, message: dict[str, object], parts: Sequence[bytes]) -> None: ...

    def wanted(self, *, due: int, created: int) -> int:
        """The highest policy version that the log was read to have in force at the time ``due``, as far as it was read
        at or after the time ``created``; 0 for none. Seconds since the epoch.
        """
        ...

    def halts(self) -> Sequence[tuple[str, int, int | None]]:
        """(digest, policy version in force when it came, version that its resume names or None)."""
        ...

    def halt(self, sha256: str, policy_version: int) -> None: ...

    def resume(self, sha256: str, policy_version: int) -> None: ...


class Standing:
    """``policy``: the frame of the newest accepted one, if any; ``nonce``: 128 random bits in hex of this process."""

    def __init__(self, memory: StandingMemory, *, profile: int, nonce: str, policy: Frame | None) -> None:
        self._memory, self._profile, self.nonce = memory, profile, nonce
        self._reading = Reading(memory, nonce=nonce, number=memory.starts)
        self._policy = self._opened(policy) if policy is not None else None
        self._verbs = {
            "policy": self._take_policy,
            "leaves": self._leaves,
            "start": self._start,
            "halt": self._halt,
            "resume": self._resume,
        }

    def take(self, frame: Frame, *, now: datetime) -> dict[str, object]:
        """The answer to any message but orders and ``status``; raises `SignwrightError` for one that does not hold."""
        verb = str(frame.message.get("verb"))
        if verb not in self._verbs:
            raise DeniedError(f"the keyholder knows no {verb[:40]!r}", code="unknown-verb")
        return self._verbs[verb](frame, now)

    def in_force(self) -> Policy:
        if self._policy is None:
            raise ConfigurationError("the keyholder has no policy yet", code="no-policy")
        return self._policy

    def halts(self) -> list[str]:
        """Digests of the halts that are not over."""
        if self._policy is None:
            return []
        version = self._policy.version
        return [digest for digest, under, resumed in self._memory.halts() if not has_ended(under, resumed, version)]

    def may_sign(self, *, now: datetime) -> Policy:
        """The policy in force; raises `DeniedError` while signing is halted, and when the log has a newer one.

        A version that somebody made up in the log counts no more for a policy that the keepers signed after that.
        """
        policy, halts = self.in_force(), self.halts()
        if halts:
            raise DeniedError(f"signing is halted ({', '.join(halt[:16] for halt in halts)})", code="halted")
        due, created = now - window(policy), parse_time(policy.index.created)
        wanted = self._memory.wanted(due=int(due.timestamp()), created=int(created.timestamp()))
        if wanted > policy.version:
            raise DeniedError(f"policy version {policy.version}; the log has version {wanted}", code="policy-behind")
        return policy

    def status(self) -> dict[str, object]:
        policy = self._policy
        return {
            "policy": {"version": policy.version, "sha256": policy.sha256} if policy else None,
            "profile": self._profile,
            "start": {"nonce": self.nonce, "number": self._memory.starts},
            "read": self._reading.size,
            "halts": self.halts(),
        }

    def _opened(self, frame: Frame) -> Policy:
        names = frame.message.get("documents")
        if not isinstance(names, list) or len(frame.parts) != 2 + len(names):
            raise DeniedError("policy message: root, policy and the named documents are wanted", code="bad-message")
        documents = {str(name): part for name, part in zip(names, frame.parts[2:], strict=True)}
        root, index = (parse_envelope(part) for part in frame.parts[:2])
        policy = open_policy(root, index, documents, pinned_root_sha256=self._memory.root_sha256)
        since = frame.message.get("in_force_from")
        return replace(policy, in_force_from=parse_time(str(since))) if since else policy

    def _take_policy(self, frame: Frame, now: datetime) -> dict[str, object]:
        """Root, policy, documents, then the leaf that logged it and its proof."""
        names = frame.message.get("documents")
        if not isinstance(names, list) or len(frame.parts) != 4 + len(names):
            raise DeniedError("policy message: root, policy, documents, leaf and proof are wanted", code="bad-message")
        *parts, leaf, proof = frame.parts
        message: dict[str, object] = {"documents": names}
        policy = self._opened(Frame(message, tuple(parts)))
        if self._policy is None or policy.sha256 != self._policy.sha256:
            check_profile(policy, self._profile)
            policy = check_policy_change(self._policy, policy, leaf=leaf, proof=proof, now=now)
            message["in_force_from"] = policy.in_force_from and format_time(policy.in_force_from)
            self._memory.accept_policy(policy.version, policy.sha256, message, parts)
            self._policy = policy
        return {"version": policy.version, "sha256": policy.sha256}

    def _leaves(self, frame: Frame, _: datetime) -> dict[str, object]:
        self._reading.take(frame.message.get("first"), frame.parts)
        return {"read": self._reading.size}

    def _start(self, frame: Frame, now: datetime) -> dict[str, object]:
        """This very process stands in the log that it has read; only what is logged after it may reach a key."""
        start = self._reading.started(self.in_force(), frame.parts[0], now=now)
        self._memory.started(start)
        return {"first_leaf": start.first_leaf}

    def _halt(self, frame: Frame, _: datetime) -> dict[str, object]:
        policy = self.in_force()
        statement = opened_halt(policy, parse_envelope(frame.parts[0]))
        self._memory.halt(statement.digest, policy.version)
        return {"halts": self.halts()}

    def _resume(self, frame: Frame, _: datetime) -> dict[str, object]:
        said = opened_resume(self.in_force(), parse_envelope(frame.parts[0])).predicate
        for digest in said.halts:
            self._memory.resume(digest, said.policy_version)
        return {"halts": self.halts()}
