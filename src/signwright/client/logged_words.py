# SPDX-License-Identifier: Apache-2.0
"""What keepers' words the witnessed log has: each freshness statement, halt and resume that reached the signer.

The hub carries these words and could show each keeper others. The log is one for all, so whoever renews freshness, or
halts, looks there. What was read is remembered, so that each leaf is read once and none goes back.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from pydantic import Field

from signwright.client.files import write_private
from signwright.client.log_reader import LogReader
from signwright.client.seen_log import memory_file
from signwright.client.sessions import state_folder
from signwright.errors import ConfigurationError, SignwrightError, VerificationError
from signwright.model.operation import Strict
from signwright.policy.following import ONLINE_MINUTES, window
from signwright.policy.policy import Policy
from signwright.policy.succession import has_ended
from signwright.statements.dsse import Envelope
from signwright.statements.models import Freshness, SeenCheckpoint, Statement, parse_statement
from signwright.statements.parse import parse_model
from signwright.transparency.leaf import MAX_LISTED, FreshnessLeaf, HaltLeaf, ResumeLeaf, parse_leaf
from signwright.transparency.merkle import EMPTY_ROOT

#: The signer logs a heartbeat every hour.
MAX_AGE = timedelta(hours=2)
#: Most freshness statements that are remembered.
_KEPT = 256


class LoggedWords(Strict):
    """Of the first ``seen.size`` leaves. ``freshness``: digest of each statement → its number, the newest ones;
    ``halts``: digest → policy version in force when it came; ``resumed``: digest of a halt → version of its resume.
    """

    seen: SeenCheckpoint
    freshness: dict[str, int] = Field(default_factory=dict)
    halts: dict[str, int] = Field(default_factory=dict)
    resumed: dict[str, int] = Field(default_factory=dict)

    @property
    def number(self) -> int:
        """The highest of a freshness statement, 0 before the first."""
        return max(self.freshness.values(), default=0)

    def newest(self) -> list[str]:
        """Digests of the freshness statements of that number: more than one is a fork."""
        return [digest for digest, number in self.freshness.items() if number == self.number]

    def open_halts(self, policy_version: int) -> list[str]:
        """Halts that are not over, as the log tells."""
        rows = self.halts.items()
        return [name for name, under in rows if not has_ended(under, self.resumed.get(name), policy_version)]


def read_words(log: LogReader, *, folder: Path | None = None) -> LoggedWords:
    """What the log has, from where it was read last; raises `VerificationError` when it does not continue that."""
    file = memory_file(log.trust, folder or state_folder() / "words")
    before = _remembered(file)
    size, root = (before.seen.size, bytes.fromhex(before.seen.root)) if before else (0, EMPTY_ROOT)
    freshness = dict(before.freshness) if before else {}
    halts = dict(before.halts) if before else {}
    resumed = dict(before.resumed) if before else {}
    for _, content in log.leaves_since(size, root):
        try:
            leaf = parse_leaf(content)
        except SignwrightError:
            continue  # of a newer signer; what it means is for the monitor to say
        if isinstance(leaf, FreshnessLeaf):
            freshness[leaf.statement] = leaf.number
        elif isinstance(leaf, HaltLeaf):
            halts.setdefault(leaf.statement, leaf.policy_version)
        elif isinstance(leaf, ResumeLeaf):
            folded = len(leaf.halts) == 1 and leaf.halts[0] not in halts and len(halts) > MAX_LISTED
            resumed.update(dict.fromkeys(halts if folded else leaf.halts, leaf.policy_version))
    checkpoint = log.checkpoint
    seen = SeenCheckpoint(origin=checkpoint.origin, size=checkpoint.size, root=checkpoint.root.hex())
    kept = dict(sorted(freshness.items(), key=lambda row: row[1])[-_KEPT:])
    found = LoggedWords(seen=seen, freshness=kept, halts=halts, resumed=resumed)
    if found != before:
        write_private(file, found.model_dump_json().encode())
    return found


def _remembered(file: Path) -> LoggedWords | None:
    try:
        return parse_model(LoggedWords, file.read_bytes(), limit=64 << 20)
    except FileNotFoundError:
        return None
    except SignwrightError as problem:
        raise ConfigurationError(f"{file}: the remembered words do not read", code="bad-state") from problem


def check_recent(log: LogReader, policy: Policy, *, now: datetime) -> None:
    """Raises `VerificationError` for a checkpoint that witnesses looked at too long ago: it may be an old one, shown to
    hide what came since.
    """
    wide = policy.services.quorum.window_minutes > ONLINE_MINUTES
    limit = MAX_AGE + (window(policy) if wide else timedelta())
    cosigned = log.witnessed.cosigned.median_time
    if cosigned is None or now - cosigned > limit:
        found = f"cosigned {cosigned:%Y-%m-%dT%H:%M:%SZ}" if cosigned else "without a cosignature"
        raise VerificationError(f"the log's newest checkpoint: {found}", code="stale-checkpoint")


def check_shown(logged: LoggedWords, shown: Envelope | None) -> None:
    """The hub shows the newest freshness statement that the log has, or a newer one that is on its way there.

    Who signed it is another question: after a change of root it may be nobody who counts. Raises `VerificationError`:
    ``freshness-withheld`` or ``freshness-fork``.
    """
    found = parse_statement(shown, Freshness) if shown is not None else None
    number = found.predicate.number if found else 0
    hint = "ask the other freshness keepers what they revoked: the hub may hide it from you"
    if number < logged.number:
        raise VerificationError(
            f"the log has freshness number {logged.number}, and the hub shows {number or 'none'}",
            code="freshness-withheld",
            hint=hint,
        )
    if found is not None and number == logged.number and logged.newest() != [found.digest]:
        raise VerificationError(
            f"the log has another freshness statement of number {number} than the hub shows",
            code="freshness-fork",
            hint=hint,
        )


def check_taken(logged: LoggedWords, own: Statement[Freshness]) -> None:
    """Nothing in the log stands in the way of our own statement, whether or not it is there already.

    Raises `VerificationError`: ``freshness-fork`` when another one has its number, ``freshness-withheld`` when it is
    not there and a later one is.
    """
    number = own.predicate.number
    others = [digest for digest, known in logged.freshness.items() if known == number and digest != own.digest]
    hint = "ask the other freshness keepers what they revoked, and renew with what all of you revoke"
    if others:
        raise VerificationError(
            f"the log has another freshness statement of number {number}", code="freshness-fork", hint=hint
        )
    if own.digest not in logged.freshness and logged.number > number:
        raise VerificationError(
            f"the log has freshness number {logged.number}, and not number {number}, which this is",
            code="freshness-withheld",
            hint=hint,
        )
