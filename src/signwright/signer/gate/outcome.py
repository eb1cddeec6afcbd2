# SPDX-License-Identifier: Apache-2.0
"""What became of a request, in the gate's memory, in its database and on the wire to the courier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from signwright.errors import (
    DeniedError,
    FormatError,
    LimitError,
    MalformedError,
    SignwrightError,
    UnavailableError,
    UsageError,
)
from signwright.model.framing import Frame, encode_frame
from signwright.model.text import first_bad_character
from signwright.policy.rules.reason import Reason
from signwright.signer.gate.policy import PolicyHolder
from signwright.signer.gate.state import decode_frame
from signwright.statements.bundle import LoggedLeaf, ReceiptBundle, Wave, blob

#: Characters of a message or a reason.
MAX_TEXT = 4000

#: Errors that speak about the request itself: asking again does not help.
_ABOUT_THE_REQUEST = (DeniedError, MalformedError, FormatError, LimitError, UsageError)


@dataclass(frozen=True, slots=True)
class SignedArtifact:
    """``receipt``: its envelope; ``patch``: wire form, None in digest mode; ``envelopes``: one for each operation."""

    receipt: bytes
    patch: bytes | None
    envelopes: tuple[bytes, ...]
    result_sha256: str | None


@dataclass(frozen=True, slots=True)
class SignedWave:
    """``intent``: index of its leaf; ``leaf``: exactly as logged; ``proof``: tlog-proof text."""

    intent: int
    leaf: bytes
    proof: bytes
    operations: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """A signed request with all that its receipts need."""

    policy_version: int
    waves: tuple[SignedWave, ...]
    request: bytes
    approvals: tuple[bytes, ...]
    evidence: tuple[bytes, ...]
    artifacts: tuple[SignedArtifact, ...]

    def encode(self) -> bytes:
        """For the database; the policy's documents stand there once and not in each result."""
        parts: list[bytes] = [self.request, *self.approvals, *self.evidence]
        for wave in self.waves:
            parts += [wave.leaf, wave.proof, wave.operations]
        rows: list[dict[str, object]] = []
        for one in self.artifacts:
            rows.append({"envelopes": len(one.envelopes), "patch": one.patch is not None, "result": one.result_sha256})
            parts += [one.receipt, *one.envelopes, *([one.patch] if one.patch is not None else [])]
        head = {"approvals": len(self.approvals), "evidence": len(self.evidence)}
        intents = [wave.intent for wave in self.waves]
        return encode_frame({**head, "policy": self.policy_version, "intents": intents, "artifacts": rows}, parts)

    @classmethod
    def decode(cls, content: bytes) -> Finished:
        """Our own writing back; raises `UnavailableError` when it is damaged, or an earlier version wrote it."""
        try:
            return cls._of(decode_frame(content))
        except (KeyError, TypeError, AssertionError, StopIteration, RuntimeError) as problem:
            text = "gate state: a stored result is damaged, or of an earlier version"
            raise UnavailableError(text, code="state") from problem

    @classmethod
    def _of(cls, frame: Frame) -> Finished:
        message, parts = frame.message, iter(frame.parts)
        request = next(parts)
        approvals = tuple(next(parts) for _ in range(_number(message["approvals"])))
        evidence = tuple(next(parts) for _ in range(_number(message["evidence"])))
        intents, rows = message["intents"], message["artifacts"]
        assert isinstance(intents, list)
        assert isinstance(rows, list)
        waves = tuple(SignedWave(_number(intent), next(parts), next(parts), next(parts)) for intent in intents)
        artifacts = []
        for row in rows:
            receipt = next(parts)
            envelopes = tuple(next(parts) for _ in range(row["envelopes"]))
            artifacts.append(SignedArtifact(receipt, next(parts) if row["patch"] else None, envelopes, row["result"]))
        return cls(_number(message["policy"]), waves, request, approvals, evidence, tuple(artifacts))

    def bundles(self, policies: PolicyHolder) -> list[bytes]:
        """One ``.swreceipt`` for each artifact."""
        waves = tuple(
            Wave(intent=LoggedLeaf(leaf=blob(one.leaf), proof=blob(one.proof)), operations=blob(one.operations))
            for one in self.waves
        )
        envelopes = (self.request, self.approvals, self.evidence)
        authorisation = policies.authorisation(self.policy_version, envelopes)
        return [
            ReceiptBundle(receipt=blob(one.receipt), waves=waves, authorisation=authorisation).encode()
            for one in self.artifacts
        ]


def _printable(text: str) -> str:
    """Errors quote what strangers sent."""
    if first_bad_character(text) is None and len(text) <= MAX_TEXT:
        return text
    return "".join("?" if first_bad_character(character) is not None else character for character in text[:MAX_TEXT])


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a ``sign`` message. ``bundles``: of `Finished.bundles`, when it is signed.

    On the wire ``intent`` names the parts that are intent leaves; texts are printable and of bounded length.
    """

    outcome: Literal["signed", "denied", "waiting", "failed"]
    code: str = ""
    message: str = ""
    reasons: tuple[dict[str, str], ...] = ()
    finished: Finished | None = None
    bundles: tuple[bytes, ...] = ()

    def frame(self, number: int) -> Frame:
        """The ``result`` message to request ``number``."""
        parts: list[bytes] = []
        rows = []
        for one, bundle in zip(self.finished.artifacts if self.finished else (), self.bundles, strict=True):
            row: dict[str, object] = {"bundle": len(parts), "patch": None, "result_sha256": one.result_sha256}
            parts.append(bundle)
            if one.patch is not None:
                row["patch"] = len(parts)
                parts.append(one.patch)
            row["envelopes"] = list(range(len(parts), len(parts) + len(one.envelopes)))
            parts += one.envelopes
            rows.append(row)
        intents = []
        for wave in self.finished.waves if self.finished else ():
            intents.append(len(parts))
            parts.append(wave.leaf)
        message: dict[str, object] = {
            "type": "result",
            "id": number,
            "outcome": self.outcome,
            "code": self.code,
            "message": _printable(self.message),
            "reasons": [{name: _printable(text) for name, text in row.items()} for row in self.reasons],
            "intent": intents,
            "artifacts": rows,
        }
        return Frame(message, tuple(parts))


def refused(reasons: Sequence[Reason], ignored: Sequence[str], effect: Literal["denied", "waiting"]) -> Outcome:
    """The outcome of a decision that is not to allow; ``ignored``: statements that were no facts, in words."""
    text = "; ".join([*map(str, reasons), *ignored])
    return Outcome(effect, reasons[0].rule, text, tuple(reason.as_json() for reason in reasons))


def failed(problem: SignwrightError) -> Outcome:
    """The outcome of an error on the way: denied when it speaks about the request, failed when trying again may
    help.
    """
    reasons = problem.details.get("reasons", [])
    rows = tuple(row for row in reasons if isinstance(row, dict)) if isinstance(reasons, list) else ()
    about_request = isinstance(problem, _ABOUT_THE_REQUEST) and not problem.code.startswith("worker-")
    return Outcome("denied" if about_request else "failed", problem.code, problem.message, rows)
