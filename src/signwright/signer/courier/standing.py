# SPDX-License-Identifier: Apache-2.0
"""Policies and keepers' words on their way to the gate, in this order: policy, freshness, halt, resume.

What the gate refuses is not offered to it again before there is another policy. Whether any of it holds is the gate's
question alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from signwright.errors import UnavailableError
from signwright.model.framing import Frame
from signwright.signer.channel import text_field
from signwright.signer.courier.gate import GateLink
from signwright.signer.courier.hub import Carried, CarriedPolicy, CarriedWords

_log = structlog.get_logger("signwright.courier")

#: What the gate says when it may take the same thing a moment later.
_LATER = frozenset({"no-quorum", "no-courier", "errand-timeout", "busy", "no-keyholder"})
WORDS = frozenset({"freshness", "halt", "resume"})
#: How often the gate is asked how it is while a policy waits in it, and otherwise.
WAITING_SECONDS, QUIET_SECONDS = 5.0, 60.0
ANSWER_SECONDS = 15.0


class Standing:
    """For one connection to the gate. ``carried``: what goes along with each poll."""

    def __init__(self, link: GateLink) -> None:
        self._link = link
        self.carried = Carried()
        self._refused: list[tuple[str, bytes]] = []
        self._handing_over = False
        self._asked = float("-inf")

    async def hand_over(self, policy: CarriedPolicy) -> None:
        """Raises `UnavailableError` when the gate may take it later."""
        self._handing_over = True
        try:
            await self._hand_over(policy)
        finally:
            self._handing_over = False
        refused, self._refused = self._refused, []
        await self._hand_on(refused)
        await self.ask()

    async def _hand_over(self, policy: CarriedPolicy) -> None:
        message: dict[str, object] = {"type": "policy", "documents": list(policy.documents)}
        parts = [policy.root, policy.policy, *policy.documents.values()]
        answer = await self._link.call(self._link.number(), message, parts)
        if answer.message.get("ok") is True:
            until = answer.message.get("waits_until")
            _log.info("policy", version=answer.message.get("version"), waits_until=until)
            self.carried.policy_sha256 = policy.sha256
            return
        code = text_field(answer.message, "code")
        _log.error("policy refused", code=code, reason=text_field(answer.message, "message"))
        if code in _LATER:
            raise UnavailableError("the gate could not take the policy yet", code=code)
        self.carried.policy_sha256 = policy.sha256

    async def hand_on(self, words: CarriedWords) -> None:
        """Raises `UnavailableError` when the gate may take them later; those before were taken."""
        self._refused = []  # these are all that there are
        await self._hand_on(words.words)
        self.carried.words_sha256 = words.sha256
        await self.ask()

    async def _hand_on(self, words: Sequence[tuple[str, bytes]]) -> None:
        for kind, content in words:
            if kind not in WORDS:
                continue  # of a newer hub
            if kind == "freshness" and self._handing_over:
                # It may want the very policy that the gate is about to take; before that, requests would be denied.
                self._refused.append((kind, content))
                continue
            answer = await self._told({"type": kind}, [content])
            if answer.message.get("ok") is True:
                continue
            code = text_field(answer.message, "code")
            if code in _LATER:
                raise UnavailableError(f"the gate could not take a {kind} yet", code=code)
            _log.warning("word refused", kind=kind, code=code, reason=text_field(answer.message, "message"))
            self._refused.append((kind, content))

    async def look(self) -> None:
        """Ask the gate how it is, when it is time to; it may have put a policy in force by itself."""
        signer = self.carried.signer
        pause = WAITING_SECONDS if signer and signer["waiting_policy"] is not None else QUIET_SECONDS
        if asyncio.get_running_loop().time() - self._asked >= pause:
            await self.ask()

    async def ask(self) -> None:
        """Have the gate say how it is; it may be silent."""
        self._asked = asyncio.get_running_loop().time()
        try:
            self.carried.signer = _signer_state((await self._told({"type": "status"})).message)
        except (KeyError, TypeError, UnavailableError):
            self.carried.signer = None  # a gate that cannot say how it is

    async def _told(self, message: dict[str, object], parts: Sequence[bytes] = ()) -> Frame:
        """A gate that does not answer holds up nothing but this; raises `UnavailableError`."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._link.call(self._link.number(), message, parts)
        except TimeoutError as problem:
            raise UnavailableError(f"the gate did not answer a {message['type']}", code="no-answer") from problem


def _signer_state(message: dict[str, object]) -> dict[str, object]:
    """The members of the gate's status that the hub wants to know."""
    policy, halts = message.get("policy"), message["halts"]
    if not isinstance(halts, list):
        raise TypeError("halts are not a list")
    return {
        "policy_version": policy["version"] if isinstance(policy, dict) else 0,
        "waiting_policy": message["waiting_policy"],
        "freshness": message["freshness"],
        "halts": halts,
    }
