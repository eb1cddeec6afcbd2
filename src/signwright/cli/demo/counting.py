# SPDX-License-Identifier: Apache-2.0
"""How often keys were used, from what the signer itself keeps: the keyholder's claims and counters, and the gate's log.

Nothing that a hub or courier says is counted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from signwright.transparency.leaf import ResultLeaf, parse_leaf
from signwright.transparency.tiles import ENTRIES, WIDTH, Tile, parse_bundle


class KeyUse(NamedTuple):
    """``claims``: intents that the keyholder let reach a key; ``operations``: as it counts them; ``signatures`` and
    ``signed``: signature values and signed requests that the log tells of.
    """

    claims: int
    operations: int
    signatures: int
    signed: int

    def since(self, before: KeyUse) -> int:
        """Key operations between two counts, by whichever of the counts says most."""
        return max(abs(now - then) for now, then in zip(self, before, strict=True))


def key_use(home: Path) -> KeyUse:
    """Count in a home; raises `OSError` or `sqlite3.Error` when its state cannot be read."""
    file = home / "signer" / "keyholder" / "keyholder.sqlite3"
    database = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    try:
        claims = database.execute("SELECT COUNT(*) FROM claim").fetchone()[0]
        query = "SELECT COALESCE(SUM(count), 0) FROM used WHERE name LIKE 'key %'"
        operations = database.execute(query).fetchone()[0]
    finally:
        database.close()
    results = [leaf for leaf in map(parse_leaf, leaves(home)) if isinstance(leaf, ResultLeaf)]
    signatures = sum(len(leaf.signature_sha256) for leaf in results)
    return KeyUse(claims, operations, signatures, sum(leaf.outcome == "signed" for leaf in results))


def leaves(home: Path) -> Iterator[bytes]:
    """Every leaf of the gate's own log, in order."""
    folder = home / "signer" / "gate" / "tiles"
    for index in range(1 << 20):
        whole = Tile(ENTRIES, index)
        if (folder / whole.path).is_file():
            yield from parse_bundle((folder / whole.path).read_bytes(), WIDTH)
            continue
        parts = folder / f"{whole.path}.p"
        widths = [int(path.name) for path in parts.iterdir() if path.name.isdigit()] if parts.is_dir() else []
        if widths:
            yield from parse_bundle((parts / str(max(widths))).read_bytes(), max(widths))
        return
