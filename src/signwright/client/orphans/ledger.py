# SPDX-License-Identifier: Apache-2.0
"""Signatures against the leaves of the log: each needs a result that lists its value, of an intent for its key.

A result with more than 24 signatures holds one digest of all of them. Then the intent's operation list, which the
intent leaf names by digest and every receipt of the request carries, tells what was signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from signwright.client.authorisation import open_operations
from signwright.client.orphans.found import Found
from signwright.errors import LimitError, SignwrightError
from signwright.model.base64text import strict_base64
from signwright.statements.bundle import ReceiptBundle
from signwright.transparency.leaf import IntentLeaf, KeyOperationLeaf, ResultLeaf, parse_leaf

MAX_FOLDED = 100_000


@dataclass(frozen=True, slots=True)
class Folded:
    """A signed intent whose result lists no single signature. ``operations_sha256``: None for what is no release."""

    index: int
    request: str
    key: str
    operations_sha256: str | None


def keys_of(leaves: Iterable[tuple[int, bytes]]) -> set[str]:
    """Every key that the log ever named in an intent; leaves that do not read are the monitor's business."""
    found = set()
    for _, content in leaves:
        if b'"key":' in content:
            try:
                leaf = parse_leaf(content)
            except SignwrightError:
                continue
            if isinstance(leaf, IntentLeaf | KeyOperationLeaf):
                found.add(leaf.key)
    return found


@dataclass
class Ledger:
    """Feed it the log in order; `missing` is what no leaf accounts for. ``wanted``: signatures of our keys."""

    wanted: Sequence[Found]
    folded: list[Folded] = field(default_factory=list)
    _open: dict[int, Folded] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._missing: dict[tuple[str, str], list[Found]] = {}
        self._twins: dict[tuple[str, str], tuple[str, str]] = {}
        for found in self.wanted:
            self._missing.setdefault((found.key, found.value_sha256), []).append(found)
            if found.twin_sha256 is not None:
                self._twins[found.key, found.twin_sha256] = (found.key, found.value_sha256)
        self._keys = {found.key for found in self.wanted}

    def see(self, leaves: Iterable[tuple[int, bytes]]) -> None:
        """Strike out what the results list. Raises `LimitError` when too many of them were folded."""
        for index, content in leaves:
            try:
                leaf = parse_leaf(content)
            except SignwrightError:
                continue
            if isinstance(leaf, IntentLeaf):
                self._open[index] = Folded(index, leaf.request, leaf.key, leaf.operations_sha256)
            elif isinstance(leaf, KeyOperationLeaf):
                self._open[index] = Folded(index, leaf.statement, leaf.key, None)
            elif isinstance(leaf, ResultLeaf):
                self._result(leaf)

    def missing(self) -> list[Found]:
        return [found for rows in self._missing.values() for found in rows]

    def accept(self, bundle: ReceiptBundle) -> None:
        """Strike out what a receipt's operation lists account for; only lists that a logged intent names count.

        Nothing else of the receipt is believed, and one that does not read accounts for nothing.
        """
        known = {(folded.operations_sha256, folded.key) for folded in self.folded}
        keys = {key for _, key in known}
        for wave in bundle.waves:
            try:
                content = strict_base64(wave.operations)
                digest = hashlib.sha256(content).hexdigest()
                digests = {row.digest for row in open_operations(content)}
            except SignwrightError:
                continue
            for key in keys:
                if (digest, key) in known:
                    self._strike(key, digests)

    def open_folded(self) -> list[Folded]:
        """Folded results, newest first, that may account for something that is still missing."""
        keys = {found.key for found in self.missing() if found.content is not None}
        return [folded for folded in reversed(self.folded) if folded.key in keys and folded.operations_sha256]

    def _result(self, leaf: ResultLeaf) -> None:
        intent = self._open.get(leaf.intent)
        if intent is None or intent.request != leaf.request:
            return
        if leaf.outcome != "unknown":  # what is unknown may become known once
            del self._open[leaf.intent]
        if leaf.outcome != "signed":
            return
        if leaf.listed:
            for value in leaf.signature_sha256:
                name = intent.key, value
                self._missing.pop(name, None)
                self._missing.pop(self._twins.get(name, name), None)
        elif intent.key in self._keys:
            self.folded.append(intent)
            if len(self.folded) > MAX_FOLDED:
                raise LimitError(f"more than {MAX_FOLDED} results were folded", code="too-many-folded")

    def _strike(self, key: str, digests: set[str]) -> None:
        for name, rows in list(self._missing.items()):
            left = [found for found in rows if found.key != key or found.content not in digests]
            if left:
                self._missing[name] = left
            else:
                del self._missing[name]
