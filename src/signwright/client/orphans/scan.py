# SPDX-License-Identifier: Apache-2.0
"""The orphan scan: files in, orphans out. Signatures are settled in batches, each against the whole log of then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from signwright.client.hub import Hub
from signwright.client.log_reader import LogReader
from signwright.client.orphans.extract import MAX_RAW, Look, StampOf, raw_signature, signatures_in
from signwright.client.orphans.found import Found, Proof, Unread
from signwright.client.orphans.ledger import Ledger
from signwright.client.orphans.walk import RAW_SUFFIX, Closed, Entry
from signwright.client.subject import RECEIPT, load_bundle
from signwright.errors import NotFoundError, SignwrightError
from signwright.statements.bundle import ReceiptBundle

BATCH = 20_000
MAX_ASKED = 500
#: A result may come home before its leaf is published: so young a signature gets some seconds.
YOUNG, TRIES, PAUSE = timedelta(hours=1), 5, 2.0


@dataclass(frozen=True, slots=True)
class Orphan:
    """``text``: why nothing in the log accounts for it."""

    found: Found
    text: str


@dataclass(frozen=True, slots=True)
class Forged:
    """Our certificate beside a value that our key did not make: nobody's verifier accepts it."""

    found: Found


Event = Orphan | Forged | Unread | Closed


@dataclass(frozen=True)
class Ours:
    """``keys``: hex SHA-256 of SubjectPublicKeyInfo; ``public_keys``: DER of those that may sign raw."""

    keys: frozenset[str]
    public_keys: tuple[bytes, ...] = ()


@dataclass
class Tally:
    """``ours``: signatures by our keys; ``others``: by other keys; ``older``: ours, timestamped before ``since``."""

    ours: int = 0
    others: int = 0
    older: int = 0
    orphans: int = 0
    forged: int = 0
    unread: int = 0
    closed: int = 0


@dataclass
class Scan:
    """``read``: the log as it is now, verified; ``seats``: hubs that may have receipts; ``now``: aware UTC."""

    read: Callable[[], LogReader]
    ours: Ours
    stamp_of: StampOf
    now: datetime
    since: datetime | None = None
    seats: Callable[[], Iterable[Hub]] | None = None
    receipts: Path | None = None
    batch: int = BATCH
    pause: Callable[[float], None] = time.sleep
    tally: Tally = field(default_factory=Tally)

    def run(self, entries: Iterable[Entry | Closed | Unread]) -> Iterator[Event]:
        """Raises `LimitError` and what the log's reader raises: a log that does not hold settles nothing."""
        waiting: list[Found] = []
        for entry in entries:
            for event in self._look(entry):
                if isinstance(event, Found):
                    waiting.append(event)
                else:
                    yield self._counted(event)
            if len(waiting) >= self.batch:
                yield from self._settled(waiting)
                waiting = []
        yield from self._settled(waiting)

    def _look(self, entry: Entry | Closed | Unread) -> Iterator[Event | Found]:
        """What is told at once, and the signatures of our keys."""
        if not isinstance(entry, Entry):
            yield entry
            return
        try:
            for found in self._signatures(entry):
                if found.key not in self.ours.keys:
                    self.tally.others += 1
                elif found.proof is Proof.FORGED:
                    yield Forged(found)
                elif self._is_older(found):
                    self.tally.older += 1
                else:
                    self.tally.ours += 1
                    yield found
        except SignwrightError as problem:
            yield Unread(entry.path, problem.code, problem.message)

    def _signatures(self, entry: Entry) -> Iterator[Found]:
        yield from signatures_in(entry.path, entry.view, Look(self.stamp_of, self.ours.keys))
        if entry.content is None or not entry.path.endswith(RAW_SUFFIX) or not 0 < entry.view.size <= MAX_RAW:
            return
        value = entry.view.read(0, entry.view.size)
        found = raw_signature(entry.path, value, entry.content(), self.ours.public_keys)
        if found is not None:
            yield found
        else:
            self.tally.others += 1

    def _is_older(self, found: Found) -> bool:
        """Only a time that an authority of the trust file vouches for passes a signature over."""
        stamp = found.stamp
        return self.since is not None and stamp is not None and stamp.authority is not None and stamp.time < self.since

    def _settled(self, waiting: list[Found]) -> Iterator[Event]:
        if not waiting:
            return
        ledger = Ledger(waiting)
        log = self.read()
        ledger.see(log.all_leaves())
        self._with_receipts(ledger)
        for _ in range(TRIES):
            if not any(self._is_young(found) for found in ledger.missing()):
                break
            self.pause(PAUSE)
            newer, seen = self.read(), log.checkpoint
            ledger.see(newer.leaves_since(seen.size, seen.root))
            log = newer
            self._with_receipts(ledger)
        for found in ledger.missing():
            text = "no leaf of the log accounts for it"
            yield self._counted(Orphan(found, f"{text}; it cannot be checked: {found.why}" if found.why else text))

    def _is_young(self, found: Found) -> bool:
        return found.stamp is not None and abs(self.now - found.stamp.time) < YOUNG

    def _with_receipts(self, ledger: Ledger) -> None:
        """Receipts are needed where results were folded, and there only."""
        if not ledger.open_folded():
            return
        for file in self._receipt_files(ledger):
            try:
                ledger.accept(load_bundle(file))
            except SignwrightError:
                continue  # a receipt that does not read accounts for nothing
        for folded in ledger.open_folded()[:MAX_ASKED] if self.seats else []:
            bundle = self._of_hub(folded.request)
            if bundle is not None:
                ledger.accept(bundle)

    def _receipt_files(self, ledger: Ledger) -> Iterator[Path]:
        for found in ledger.missing():
            beside = Path(found.path + RECEIPT)
            if beside.is_file():
                yield beside
        if self.receipts is not None:
            yield from sorted(self.receipts.rglob("*" + RECEIPT))

    def _of_hub(self, request: str) -> ReceiptBundle | None:
        """A receipt of a request; one tells of all its operations. None when no caller may see it."""
        for hub in self.seats() if self.seats else []:
            try:
                view = hub.request(request)
                return ReceiptBundle.decode(hub.result(view, view.results[0].artifact, "receipt"))
            except (NotFoundError, IndexError):
                continue
        return None

    def _counted(self, event: Event) -> Event:
        name = {Orphan: "orphans", Forged: "forged", Unread: "unread", Closed: "closed"}[type(event)]
        setattr(self.tally, name, getattr(self.tally, name) + 1)
        return event
