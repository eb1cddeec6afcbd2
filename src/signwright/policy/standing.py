# SPDX-License-Identifier: Apache-2.0
"""The keyholder's messages that are no orders: policy, start, halt, resume. Memory and clock come from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from signwright.errors import ConfigurationError, DeniedError
from signwright.model.framing import Frame
from signwright.model.times import format_time, parse_time
from signwright.policy.following import LogMemory, check_profile
from signwright.policy.orders import consistency_rows
from signwright.policy.policy import Policy, open_policy
from signwright.policy.succession import check_policy_change, check_start, has_ended, opened_halt, opened_resume
from signwright.statements.dsse import parse_envelope


class StandingMemory(LogMemory, Protocol):
    """Durable; none of it ever goes back."""

    @property
    def root_sha256(self) -> str: ...

    @property
    def starts(self) -> int:
        """How often a process came up with this memory, this one included."""
        ...

    def accept_policy(self, version: int, sha256: str, message: dict[str, object], parts: Sequence[bytes]) -> None: ...

    def started(self, index: int, *, size: int, root: bytes, newest: int) -> None: ...

    def halts(self) -> Sequence[tuple[str, int, int | None]]:
        """(digest, policy version in force when it came, version that its resume names or None)."""
        ...

    def halt(self, sha256: str, policy_version: int) -> None: ...

    def resume(self, sha256: str, policy_version: int) -> None: ...


class Standing:
    """``policy``: the frame of the newest accepted one, if any; ``nonce``: 128 random bits in hex of this process."""

    def __init__(self, memory: StandingMemory, *, profile: int, nonce: str, policy: Frame | None) -> None:
        self._memory, self._profile, self.nonce = memory, profile, nonce
        self._policy = self._opened(policy) if policy is not None else None
        self._verbs = {"policy": self._take_policy, "start": self._start, "halt": self._halt, "resume": self._resume}

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

    def may_sign(self) -> Policy:
        """The policy in force; raises `DeniedError` while signing is halted."""
        policy, halts = self.in_force(), self.halts()
        if halts:
            raise DeniedError(f"signing is halted ({', '.join(halt[:16] for halt in halts)})", code="halted")
        return policy

    def status(self) -> dict[str, object]:
        policy = self._policy
        return {
            "policy": {"version": policy.version, "sha256": policy.sha256} if policy else None,
            "profile": self._profile,
            "start": {"nonce": self.nonce, "number": self._memory.starts},
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

    def _start(self, frame: Frame, now: datetime) -> dict[str, object]:
        """This very process stands in the log now; only what is logged after it may reach a key."""
        leaf, proof = frame.parts
        index, checkpoint, newest = check_start(
            self.in_force(),
            self._memory,
            leaf=leaf,
            proof=proof,
            consistency=consistency_rows(frame.message),
            nonce=self.nonce,
            number=self._memory.starts,
            now=now,
        )
        self._memory.started(index, size=checkpoint.size, root=checkpoint.root, newest=int(newest.timestamp()))
        return {"first_leaf": index}

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
