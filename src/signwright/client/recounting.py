# SPDX-License-Identifier: Apache-2.0
"""Receipts against the log as it is now: every authorisation that can be seen is counted again from its evidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from signwright.client.alarms.base import Alarm
from signwright.client.alarms.people import same_people
from signwright.client.authorisation import LoggedIntent, Recounted, open_intent, recount
from signwright.client.hub import Hub, RequestView
from signwright.client.log_reader import LogReader
from signwright.client.trust import TrustFile
from signwright.errors import SignwrightError, UnavailableError, VerificationError
from signwright.model.times import parse_time
from signwright.statements.bundle import Authorisation, ReceiptBundle, open_envelope
from signwright.statements.keys import verify_envelope
from signwright.transparency.proof import TlogProof

#: Requests that one round looks at, newest first: as many as a hub lists.
MAX_REQUESTS = 500
#: How often, and after how many seconds each, the log is read again for a leaf that a receipt names.
PUBLISHED_TRIES, PUBLISHED_PAUSE = 20, 0.5


@dataclass
class Counted:
    """``requests``: that hold, these and those known from before; ``receipts``: counted now."""

    requests: list[str] = field(default_factory=list)
    receipts: int = 0
    alarms: list[Alarm] = field(default_factory=list)


@dataclass(frozen=True)
class Recounter:
    """``again``: reads the log anew; ``before``: ids of requests that were counted in an earlier round."""

    believed: TrustFile
    again: Callable[[], LogReader]
    before: frozenset[str] = frozenset()
    pause: Callable[[float], None] = time.sleep

    def count(self, log: LogReader, seats: Iterable[Hub]) -> Counted:
        """Every receipt that the callers in ``seats`` may see. One that does not hold is looked at again next time."""
        found = Counted()
        for hub in seats:
            for view in hub.requests(state="completed", limit=MAX_REQUESTS):
                if view.id not in self.before:
                    alarms = list(self._request(hub, view, log, found))
                    found.alarms += alarms
                    if any(alarm.severity == "error" for alarm in alarms):
                        continue
                found.requests.append(view.id)
        return found

    def _request(self, hub: Hub, view: RequestView, log: LogReader, found: Counted) -> Iterator[Alarm]:
        for row in view.results:
            try:
                bundle = ReceiptBundle.decode(hub.result(view, row.artifact, "receipt"))
                recounted = recheck(bundle, self.believed, published(bundle, log, self.again, pause=self.pause))
                found.receipts += 1
            except UnavailableError:
                raise
            except SignwrightError as problem:
                text = f"request {view.id}, artifact {row.artifact}: {problem.message}"
                yield Alarm(problem.code, text)
                continue
            if recounted is not None and bundle.authorisation is not None and row is view.results[0]:
                yield from _together(recounted, bundle.authorisation)


def published(
    bundle: ReceiptBundle,
    log: LogReader,
    again: Callable[[], LogReader],
    *,
    tries: int = PUBLISHED_TRIES,
    pause: Callable[[float], None] = time.sleep,
) -> LogReader:
    """The log as soon as it holds every leaf that the receipt names, or as it was at the last try.

    A result comes home before the log's files are published: a leaf that is not there yet gets some seconds.
    """
    last = max(TlogProof.parse(wave.intent.proof_text()).index for wave in bundle.waves)
    for _ in range(tries):
        if last < log.checkpoint.size:
            break
        pause(PUBLISHED_PAUSE)
        log = again()
    return log


def recheck(bundle: ReceiptBundle, believed: TrustFile, log: LogReader) -> Recounted | None:
    """Receipt key, proof, authorisation, and that the intent stands in the log as it is now.

    None for a receipt in its shareable form. Raises `VerificationError` and `MalformedError`.
    """
    if not verify_envelope(open_envelope(bundle.receipt), "receipt", list(believed.receipt_keys)):
        raise VerificationError("not signed by a receipt key of the trust file", code="unknown-receipt-key")
    intents: list[LoggedIntent] = [open_intent(wave, believed.log_trust) for wave in bundle.waves]
    for wave, intent in zip(bundle.waves, intents, strict=True):
        if intent.index >= log.checkpoint.size:
            text = f"the receipt's leaf {intent.index} is not in the log of {log.checkpoint.size}: it is withheld"
            raise VerificationError(text, code="log-withheld")
        content, _ = log.proof(intent.index)
        if content != wave.intent.leaf_bytes():
            raise VerificationError(f"leaf {intent.index} of the log is another: the log was forked", code="log-fork")
    if bundle.authorisation is None:
        return None
    return recount(bundle.authorisation, intents, policy_root_sha256=believed.policy_root_sha256)


def _together(found: Recounted, authorisation: Authorisation) -> Iterator[Alarm]:
    """Keepers of the policy who approved under it."""
    role = found.policy.root.policy
    signers = verify_envelope(open_envelope(authorisation.policy), "policy", list(role.keys))
    signed = parse_time(found.facts.request.predicate.created)
    yield from same_people(found.policy, (key.key_id for key in signers), found.people, signed=signed)
