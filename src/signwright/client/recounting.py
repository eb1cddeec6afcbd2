# SPDX-License-Identifier: Apache-2.0
"""Receipts against the log as it is now: every authorisation that can be seen is counted again from its evidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from signwright.client.alarms.base import Alarm, Severity
from signwright.client.alarms.history import Use
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

#: Requests that one look counts: as many as a hub lists for a credential, and some more by their digests.
MAX_LISTED, MAX_COUNTED = 500, 5000
#: How often, and after how many seconds each, the log is read again for a leaf that a receipt names.
PUBLISHED_TRIES, PUBLISHED_PAUSE = 20, 0.5


@dataclass
class Counted:
    """``requests``: digests of those that hold, counted now or before; ``receipts``: counted now; ``alarms``: told
    once; ``standing``: about what does not hold or is not there, looked at again next time.
    """

    requests: list[str] = field(default_factory=list)
    receipts: int = 0
    alarms: list[Alarm] = field(default_factory=list)
    standing: list[Alarm] = field(default_factory=list)


@dataclass(frozen=True)
class Recounter:
    """``again``: reads the log anew; ``before``: digests of requests that were counted in an earlier look; ``grace``:
    how long after a signature its receipt may be on its way.
    """

    believed: TrustFile
    again: Callable[[], LogReader]
    before: frozenset[str]
    grace: timedelta
    pause: Callable[[float], None] = time.sleep

    def count_listed(self, log: LogReader, seats: Iterable[Hub]) -> Counted:
        """What the credentials in ``seats`` may see: their own newest requests, as the hub lists them."""
        found = Counted()
        for hub in seats:
            for view in hub.requests(state="completed", limit=MAX_LISTED):
                if view.request_sha256 in self.before or self._request(hub, view, log, found=found):
                    found.requests.append(view.request_sha256)
        return found

    def count_logged(self, log: LogReader, hub: Hub, signed: Mapping[str, Use], *, now: datetime) -> Counted:
        """Every request that the log says was ``signed``, by its digest: a person may see them all.

        What the hub cannot show a receipt for cannot be counted, and that is an alarm; a warning where it says that
        a test was purged, as its policy may want.
        """
        found = Counted([digest for digest in signed if digest in self.before])
        for digest in [digest for digest in signed if digest not in self.before][:MAX_COUNTED]:
            view = _asked(hub, digest)
            if view is not None and view.results:
                if self._request(hub, view, log, found=found, digest=digest):
                    found.requests.append(digest)
            elif now - parse_time(signed[digest].time) > self.grace:
                text = f"request {digest[:16]}… was signed {signed[digest].time}, and the hub shows no receipt of it"
                purged = view is not None and view.purged and not signed[digest].release
                severity = Severity.WARNING if purged else Severity.ERROR
                found.standing.append(Alarm("no-receipt", text, severity=severity))
        return found

    def _request(
        self, hub: Hub, view: RequestView, log: LogReader, *, found: Counted, digest: str | None = None
    ) -> bool:
        """Count each receipt of a request; whether all of them hold. ``digest``: that they have to be about."""
        alarms = list(self._receipts(hub, view, log, found=found, digest=digest))
        wrong = [alarm for alarm in alarms if alarm.severity is Severity.ERROR]
        found.alarms += [alarm for alarm in alarms if alarm not in wrong]
        found.standing += wrong
        return not wrong

    def _receipts(
        self, hub: Hub, view: RequestView, log: LogReader, *, found: Counted, digest: str | None
    ) -> Iterator[Alarm]:
        for row in view.results:
            try:
                bundle = ReceiptBundle.decode(hub.result(view, row.artifact, "receipt"))
                recounted = recheck(
                    bundle, self.believed, published(bundle, log, self.again, pause=self.pause), request=digest
                )
                found.receipts += 1
            except UnavailableError:
                raise
            except SignwrightError as problem:
                yield Alarm(problem.code, f"request {view.id}, artifact {row.artifact}: {problem.message}")
                continue
            if recounted is not None and bundle.authorisation is not None and row is view.results[0]:
                yield from _together(recounted, bundle.authorisation)


def _asked(hub: Hub, digest: str) -> RequestView | None:
    """The request as the hub shows it; None when it shows none, or nonsense. Raises `UnavailableError` alone."""
    try:
        return hub.request(digest)
    except UnavailableError:
        raise
    except SignwrightError:
        return None


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


def recheck(
    bundle: ReceiptBundle, believed: TrustFile, log: LogReader, *, request: str | None = None
) -> Recounted | None:
    """Receipt key, proof, authorisation, and that the intent stands in the log as it is now. ``request``: digest of
    the one that it has to be about.

    None for a receipt in its shareable form. Raises `VerificationError` and `MalformedError`.
    """
    if not verify_envelope(open_envelope(bundle.receipt), "receipt", list(believed.receipt_keys)):
        raise VerificationError("not signed by a receipt key of the trust file", code="unknown-receipt-key")
    intents: list[LoggedIntent] = [open_intent(wave, believed.log_trust) for wave in bundle.waves]
    if request is not None and {intent.leaf.request for intent in intents} != {request}:
        raise VerificationError(f"a receipt of another request than {request[:16]}…", code="wrong-receipt")
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
