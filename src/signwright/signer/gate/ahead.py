# SPDX-License-Identifier: Apache-2.0
"""After a start: is any witness ahead of our own log, or has it seen another one? Then this is an older copy, and the
gate ends before a checkpoint of it leaves the house.

Each witness is asked for its latest cosigned checkpoint (c2sp.org/tlog-witness, monitor retrieval), which our log's key
must have signed; where a witness does not serve that, ``add-checkpoint`` with an old size of zero makes it say a size.
One that does not answer is asked again and again: no round of cosignatures waits for it longer than the first time.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from signwright.errors import ConfigurationError, SignwrightError, UnavailableError
from signwright.policy.documents import Services
from signwright.policy.log_trust import log_trust
from signwright.signer.channel import number_field
from signwright.signer.gate.errands import Errands
from signwright.transparency.checkpoint import Checkpoint, verify_checkpoint
from signwright.transparency.cosignature import LogTrust, WitnessKey, check_cosignature
from signwright.transparency.signing import SignerKey, sign_checkpoint
from signwright.transparency.witnessing import add_checkpoint_body, parse_size

_OK, _NOT_FOUND, _CONFLICT = 200, 404, 409
#: Until the courier is there, and for witnesses that did not answer.
RETRY_SECONDS = 1.0
PATIENT_SECONDS = 60.0
RECOVER = "stop everything and run: signwright signer recover --home DIR --from MIRROR"


@dataclass(slots=True)
class WitnessesAhead:
    """``services``: of the newest policy, `UnavailableError` before the first; ``size``, ``root``: of the tree at the
    start; ``grown``: its size now; ``check_seen``: raises `SignwrightError` unless our log continues (size, root).
    """

    errands: Errands
    services: Callable[[], Services]
    signer: Callable[[], SignerKey | None]
    check_seen: Callable[[int, bytes], None]
    grown: Callable[[], int]
    size: int
    root: bytes
    seconds: float
    _heard: set[str] = field(default_factory=set)
    _asked: bool = False
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _problem: ConfigurationError | None = None

    async def first(self) -> None:
        """Returns once every witness was asked; raises `ConfigurationError` when one is ahead, and `UnavailableError`
        while nobody can be asked.
        """
        async with self._asking:
            if not self._asked:
                await self._ask_all()
        if self._problem is not None:
            raise self._problem

    async def run(self) -> None:
        """Ask until every witness has answered. Raises `ConfigurationError` when one is ahead; else never ends."""
        while True:
            with contextlib.suppress(UnavailableError):
                await self.first()
                async with self._asking:
                    await self._ask_all()
            if self._problem is not None:
                raise self._problem
            await asyncio.sleep(PATIENT_SECONDS if self._asked else RETRY_SECONDS)

    async def _ask_all(self) -> None:
        """Those who have not answered yet."""
        services = self.services()
        trust = log_trust(services)
        names = [witness.name for witness in services.witnesses]
        keys = {n: k for n, k in zip(names, trust.quorum.witnesses, strict=True) if n not in self._heard}
        rows = await asyncio.gather(*(self._ask(n, k, trust) for n, k in keys.items()), return_exceptions=True)
        for name, found in zip(keys, rows, strict=True):
            if found is None:
                self._heard.add(name)
            elif isinstance(found, ConfigurationError):
                self._problem = found
            elif not isinstance(found, SignwrightError) or found.code == "no-courier":
                raise found
        self._asked = True

    async def _ask(self, name: str, key: WitnessKey, trust: LogTrust) -> None:
        """Returns when ``name`` has seen nothing that we have not; `ConfigurationError` when it has."""
        origin = hashlib.sha256(trust.origin.encode()).hexdigest()
        answer = await self.errands.run("latest", {"witness": name, "origin": origin}, seconds=self.seconds)
        status, body = number_field(answer.message, "status"), answer.parts[0] if answer.parts else b""
        if status == _OK:
            signed = verify_checkpoint(body, origin=trust.origin, keys=trust.keys)
            lines = signed.note.signatures_by(key.key)
            for line in lines:
                check_cosignature(signed.note.text, line, key.key)
            if not lines:
                raise UnavailableError(f"witness {name}: its checkpoint is not its own", code="witness-refused")
            self._compare(name, signed.checkpoint.size, signed.checkpoint.root)
        elif status != _NOT_FOUND or self.size:
            await self._ask_size(name, trust)

    async def _ask_size(self, name: str, trust: LogTrust) -> None:
        """By offering the tree that we started with to a witness that may know a larger one."""
        signer = self.signer()
        if signer is None or not self.size:
            return
        offer = sign_checkpoint(Checkpoint(trust.origin, self.size, self.root), signer)
        body = add_checkpoint_body(0, (), checkpoint=offer)
        answer = await self.errands.run("witness", {"witness": name}, [body], seconds=self.seconds)
        status = number_field(answer.message, "status")
        if status == _CONFLICT:
            self._compare(name, parse_size(answer.parts[0] if answer.parts else b""), None)
        elif status != _OK:
            raise UnavailableError(f"witness {name}: it answered {status}", code="witness-refused")

    def _compare(self, name: str, size: int, root: bytes | None) -> None:
        if size > self.grown():
            raise ConfigurationError(
                f"witness {name} has cosigned {size} leaves of this log and there are {self.grown()} here:"
                " this is an older copy of the gate's state",
                code="log-behind-witness",
                hint=RECOVER,
            )
        if root is None:
            return
        try:
            self.check_seen(size, root)
        except SignwrightError as problem:
            raise ConfigurationError(
                f"witness {name} has cosigned another log of {size} leaves than the one here",
                code="log-fork",
                hint=RECOVER,
            ) from problem
