# SPDX-License-Identifier: Apache-2.0
"""What a custodian may say and ask at the gate's own socket. Nothing of it is heard on the courier's connection.

Being able to connect decides nothing: a confirmation is signed with a custodian's SSH key, over a challenge of this
process that counts once and for ten minutes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Sequence

from signwright.errors import AuthenticationError, ConflictError, MalformedError
from signwright.model.framing import Frame
from signwright.model.times import format_time
from signwright.policy.policy import Policy
from signwright.signer.gate.custodian import Custodian, custodians
from signwright.signer.gate.policy import PolicyHolder
from signwright.signer.gate.words import KeepersWords
from signwright.statements.custodian import MAX_CONFIRMED, NAME, CustodianStatement, parse_custodian
from signwright.statements.dsse import Envelope, parse_envelope
from signwright.statements.keys import VerifyingKey, verify_envelope, verifying_key

CHALLENGE_SECONDS = 600.0
#: Challenges that are good at once; the oldest goes first.
MAX_CHALLENGES = 256
_SECURITY_KEY = "sk-"

#: Members beside ``type`` and ``id``, and the parts that travel with them.
Reply = tuple[dict[str, object], Sequence[bytes]]
ConsoleVerb = Callable[[Frame], Awaitable[Reply]]


class Console:
    """``monotonic``: seconds that only go up."""

    def __init__(
        self,
        custodian: Custodian,
        policies: PolicyHolder,
        words: KeepersWords,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._custodian, self._policies, self._words = custodian, policies, words
        self._monotonic = monotonic
        self._challenges: dict[str, float] = {}

    def verbs(self) -> dict[str, ConsoleVerb]:
        """By message type."""
        return {
            "custodian-status": self.status,
            "custodian-list": self.list,
            "custodian-word": self.word,
            "custodian-follow": self.follow,
        }

    async def status(self, _frame: Frame) -> Reply:
        """What is wanted here, how many wait, and who may confirm."""
        policy = self._policies.in_force.policy
        found = custodians(policy, self._words.revoked())
        people = {name: [verifying_key(text).key_id for text in keys] for name, keys in found.items()}
        settings = self._custodian.settings
        fields: dict[str, object] = {
            "ok": True,
            "custodian": settings.custodian,
            "keys": settings.custodian_keys,
            "waiting": self._custodian.count,
            "most": settings.limits.custodian_waiting,
            "custodians": people,
            "policy": {"version": policy.version, "sha256": policy.sha256},
            "halts": self._words.halts(),
        }
        return fields, ()

    async def list(self, frame: Frame) -> Reply:
        """The status with a new challenge, and one part for each request that waits, as it is now."""
        fields, _ = await self.status(frame)
        entries = self._custodian.waiting()
        since = [format_time(entry.since) for entry in entries]
        return {**fields, "challenge": self._challenge(), "since": since}, [entry.shown for entry in entries]

    async def word(self, frame: Frame) -> Reply:
        """A custodian's signed confirmation or denial."""
        if len(frame.parts) != 1:
            raise MalformedError(f"{len(frame.parts)} parts; wanted the one envelope")
        content = frame.parts[0]
        envelope = parse_envelope(content)
        statement = parse_custodian(envelope)
        policy = self._policies.in_force.policy
        self._check_signed(policy, envelope, statement)
        self._use_challenge(statement.predicate.challenge)
        await self._custodian.take(statement, content, policy)
        return {
            "ok": True,
            "statement": statement.digest,
            "requests": [request for request, _ in statement.requests],
        }, ()

    async def follow(self, frame: Frame) -> Reply:
        """Where the ``requests`` (digests) are that a custodian had before them; others are left out."""
        wanted = frame.message.get("requests")
        if not isinstance(wanted, list) or len(wanted) > MAX_CONFIRMED:
            raise MalformedError(f"message field 'requests': wanted at most {MAX_CONFIRMED} digests")
        found = {str(request): self._custodian.followed(str(request)) for request in wanted}
        rows = {
            request: {"state": end.state, "code": end.code, "message": end.message}
            for request, end in found.items()
            if end is not None
        }
        return {"ok": True, "requests": rows}, ()

    def _check_signed(self, policy: Policy, envelope: Envelope, statement: CustodianStatement) -> None:
        """Signed by a key of the person it names, who is a custodian now; raises `AuthenticationError`."""
        person = statement.predicate.person
        keys = custodians(policy, self._words.revoked()).get(person)
        if keys is None:
            raise AuthenticationError(
                f"{person!r} is no custodian of policy version {policy.version}", code="no-custodian"
            )
        signed = verify_envelope(envelope, NAME, list(keys))
        if not any(map(self._may_confirm, signed)):
            wanted = "a security key" if signed else f"a key of {person!r}"
            raise AuthenticationError(f"custodian: not signed by {wanted}", code="not-signed")

    def _may_confirm(self, key: VerifyingKey) -> bool:
        return self._custodian.settings.custodian_keys == "any" or key.text.startswith(_SECURITY_KEY)

    def _challenge(self) -> str:
        self._challenges = dict([*self._challenges.items()][-(MAX_CHALLENGES - 1) :])
        challenge = secrets.token_hex(32)
        self._challenges[challenge] = self._monotonic() + CHALLENGE_SECONDS
        return challenge

    def _use_challenge(self, challenge: str) -> None:
        until = self._challenges.pop(challenge, None)
        if until is None or until <= self._monotonic():
            raise ConflictError(
                "the list that this is about was answered already, or is older than ten minutes",
                code="old-challenge",
                hint="list again",
            )
