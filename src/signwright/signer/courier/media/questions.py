# SPDX-License-Identifier: Apache-2.0
"""Questions of the gate to witnesses outside the vault, waiting in memory for a medium.

A restart of the keyholder makes useless what was logged before it, so nothing would be gained by keeping them on disk.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from signwright.errors import MalformedError, UnavailableError
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.note import parse_note
from signwright.transparency.witnessing import AddCheckpoint

#: Of one witness; the oldest goes when there is one more.
MOST = 1024
#: Status and body, as the witness gave them.
Said = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Parked:
    """``size``: leaves of the tree that it is about; ``knowing``: answers of this witness before it was asked."""

    sha256: str
    body: bytes
    size: int
    knowing: int
    answer: asyncio.Future[Said]


class Questions:
    """Each with its answer to come. Nobody waits longer here than the gate does for its errand."""

    def __init__(self) -> None:
        self._parked: dict[str, list[Parked]] = {}
        self._answers: Counter[str] = Counter()
        self._latest: dict[tuple[str, str], Said | None] = {}

    def forget(self) -> None:
        """Another gate process asks anew."""
        for rows in self._parked.values():
            for one in rows:
                one.answer.cancel()
        self._parked.clear()
        self._latest.clear()

    async def cosign(self, witness: str, body: bytes) -> Said:
        """What the witness says, whenever that comes; raises `MalformedError` for what is no add-checkpoint body."""
        size = Checkpoint.parse(parse_note(AddCheckpoint.parse(body).checkpoint).text).size
        rows = self._parked.setdefault(witness, [])
        answer: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
        one = Parked(hashlib.sha256(body).hexdigest(), body, size, self._answers[witness], answer)
        rows.append(one)
        if len(rows) > MOST:
            _refuse(rows.pop(0))
        return await one.answer

    def latest(self, witness: str, origin: str) -> Said:
        """The checkpoint that it cosigned last; raises `UnavailableError` until a medium brought it."""
        said = self._latest.setdefault((witness, origin), None)
        if said is None:
            raise UnavailableError(f"witness {witness}: the question waits for a medium", code="waits-for-medium")
        return said

    def waiting(self) -> Iterator[tuple[str, Parked]]:
        """(witness, question): of those that were asked knowing its last answer the one about the largest tree."""
        for witness, rows in sorted(self._parked.items()):
            open_ = [one for one in rows if not one.answer.done()]
            if open_:
                yield witness, max(enumerate(open_), key=lambda pair: (pair[1].knowing, pair[1].size, pair[0]))[1]

    def unheard(self) -> list[tuple[str, str]]:
        """(witness, origin) whose newest checkpoint nobody has brought yet."""
        return sorted(key for key, said in self._latest.items() if said is None)

    def answer(self, witness: str, sha256: str, said: Said) -> bool:
        """Hand on what a medium brought; False when nobody asks that any more."""
        for key in self._latest:
            if key[0] == witness and hashlib.sha256(key[1].encode()).hexdigest() == sha256:
                self._latest[key] = said
                return True
        rows = self._parked.get(witness, [])
        asked = [one for one in rows if one.sha256 == sha256 and not one.answer.done()]
        if not asked:
            return False
        self._answers[witness] += 1
        for one in asked:
            one.answer.set_result(said)
        # What is left is about larger trees; the gate gives up those about smaller ones.
        for one in rows:
            if one.size <= asked[0].size:
                one.answer.cancel()
        self._parked[witness] = [one for one in rows if not one.answer.done()]
        return True


def _refuse(one: Parked) -> None:
    if not one.answer.done():
        one.answer.set_exception(MalformedError("a question of the gate waited behind too many others", code="busy"))
