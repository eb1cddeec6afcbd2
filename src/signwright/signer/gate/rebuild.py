# SPDX-License-Identifier: Apache-2.0
"""From the leaves of a log back to the gate's state: attempts, outcomes, use of keys, refusals, halts, policies.

What no leaf says is lost with the database and stays safe without it: results (a signed request has no attempt left),
the wire form of keepers' words, and to which of several signing policies with one key an intent belonged (it counts
for the one with the smallest daily limit).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from signwright.errors import ConfigurationError
from signwright.model.times import parse_time
from signwright.policy.policy import Policy, spki_sha256
from signwright.signer.gate.key_operations import COUNTED
from signwright.signer.gate.state import (
    OpenIntent,
    StoredPolicy,
    StoredWord,
    Usage,
    Write,
    add_denied,
    add_intent,
    add_policy,
    add_word,
    close_intent,
    end_halt,
    put_in_force,
    set_policy_proof,
)
from signwright.transparency.intent import MAX_LISTED
from signwright.transparency.leaf import (
    DenyLeaf,
    FreshnessLeaf,
    GenesisLeaf,
    HaltLeaf,
    IntentLeaf,
    KeyOperationLeaf,
    Leaf,
    PolicyLeaf,
    ResultLeaf,
    ResumeLeaf,
    parse_leaf,
)

#: A policy leaf's time is the gate's, its cosignatures' are the witnesses'.
SLACK = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class KnownPolicy:
    """A policy that was opened under the pinned root, and its wire form."""

    policy: Policy
    stored: StoredPolicy


@dataclass(frozen=True, slots=True)
class LoggedPolicy:
    index: int
    leaf: PolicyLeaf
    content: bytes


@dataclass(slots=True)
class Rebuild:
    """``known``: leaves below this index stand in the database already; ``policies``: by digest of the statement."""

    known: int
    policies: Mapping[str, KnownPolicy]
    logged: list[LoggedPolicy] = field(default_factory=list)
    genesis: GenesisLeaf | None = None
    writes: list[Write] = field(default_factory=list)
    #: (request, wave, attempt) of the intents that are written anew.
    intents: dict[int, tuple[str, int, int]] = field(default_factory=dict)

    def take(self, index: int, content: bytes) -> None:
        """The next leaf; raises `MalformedError` for one that this version cannot read."""
        leaf = parse_leaf(content)
        if index == 0 and isinstance(leaf, GenesisLeaf):
            self.genesis = leaf
        if isinstance(leaf, PolicyLeaf):
            self.logged.append(LoggedPolicy(index, leaf, content))
        if index >= self.known:
            self.writes += self._writes(index, leaf)

    def _writes(self, index: int, leaf: Leaf) -> Iterable[Write]:
        match leaf:
            case IntentLeaf():
                time = int(parse_time(leaf.signing_time).timestamp())
                usage = Usage(leaf.key, self._signing_policy(leaf), 1, time)
                self.intents[index] = (leaf.request, leaf.wave, leaf.attempt)
                yield add_intent(OpenIntent(index, *self.intents[index]), usage)
            case KeyOperationLeaf():
                usage = Usage(leaf.key, COUNTED, 1, int(parse_time(leaf.time).timestamp()))
                self.intents[index] = (leaf.statement, 0, leaf.attempt)
                yield add_intent(OpenIntent(index, *self.intents[index]), usage)
            case ResultLeaf():
                count = len(leaf.signature_sha256) if leaf.listed else MAX_LISTED + 1
                yield close_intent(leaf.intent, leaf.outcome)
                yield "UPDATE intents SET operations = max(operations, ?) WHERE leaf_index = ?", (count, leaf.intent)
            case DenyLeaf():
                yield add_denied(leaf.request)
            case FreshnessLeaf():
                yield add_word(StoredWord(leaf.statement, "freshness", leaf.number, None, b""))
            case HaltLeaf():
                yield add_word(StoredWord(leaf.statement, "halt", leaf.policy_version, None, b""))
            case ResumeLeaf():
                yield add_word(StoredWord(leaf.statement, "resume", leaf.policy_version, None, b""))
                yield from (end_halt(digest, leaf.policy_version) for digest in leaf.halts)
            case _:
                return

    def _signing_policy(self, leaf: IntentLeaf) -> str:
        known = self.policies.get(leaf.policy_sha256)
        if known is None:
            return ""
        rows = [
            (rule.max_per_day or 1 << 53, f"{project}/{name}")
            for project, held in known.policy.projects.items()
            for name, rule in held.signing_policies.items()
            if spki_sha256(known.policy.key_of(rule)) == leaf.key and rule.kind == leaf.kind and leaf.mode in rule.modes
        ]
        return min(rows)[1] if rows else ""

    def newest(self) -> KnownPolicy:
        """The policy of the newest policy leaf; raises `ConfigurationError` when we do not have it."""
        if not self.logged:
            raise ConfigurationError("the log holds no policy yet: start the signer anew with --genesis", code="no-log")
        wanted = self.logged[-1].leaf
        known = self.policies.get(wanted.policy_sha256)
        if known is None:
            raise ConfigurationError(
                f"the log's newest policy is version {wanted.policy_version} ({wanted.policy_sha256[:16]}…), and"
                " neither the gate's state nor the folder of the signed policy has it",
                code="no-policy",
                hint="put its signed files into policy/signed",
            )
        return known

    def policy_writes(self, proofs: Mapping[int, bytes], *, now: datetime) -> Iterable[Write]:
        """Rows of the policies that the database does not have. ``proofs``: tlog-proof text by leaf index."""
        for row in self.logged:
            known = self.policies.get(row.leaf.policy_sha256)
            if row.index < self.known or known is None:
                continue
            held = known.stored
            version = row.leaf.policy_version
            parts = (held.root, held.policy, held.documents)
            yield add_policy(StoredPolicy(version, row.leaf.policy_sha256, row.index, *parts, row.content))
            yield set_policy_proof(version, proofs[row.index])
            due = parse_time(row.leaf.time) + timedelta(hours=row.leaf.delay_hours) + SLACK
            if not row.leaf.delay_hours or due <= now:
                yield put_in_force(version)
