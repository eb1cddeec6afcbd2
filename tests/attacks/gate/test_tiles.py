# SPDX-License-Identifier: Apache-2.0
"""Somebody with the gate's disk edits an old leaf and the hash of it beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from signwright.errors import ConfigurationError
from signwright.signer.gate.log import load_frontier
from signwright.signer.gate.state import State, create_state, log_position
from signwright.signer.gate.tiles import TileFiles
from signwright.transparency.merkle import leaf_hash
from tests.support.logs import MemoryLog

LEAVES = [b"leaf %03d" % number for number in range(300)]


def stored(folder: Path, log: MemoryLog) -> State:
    create_state(folder / "state", root_sha256="00" * 32)
    (folder / "tiles").mkdir()
    state = State(folder / "state")
    TileFiles(folder / "tiles").write(log.files)
    state.transaction([log_position(log.size, log.frontier.root())])
    return state


def test_leaf_of_a_full_tile_that_was_edited_together_with_its_hash_stops_the_start(tmp_path: Path) -> None:
    """Bundle and tile agree with each other, and the tree's right edge has its old root: only the tile above tells."""
    log = MemoryLog(LEAVES)
    state = stored(tmp_path, log)
    assert load_frontier(state, TileFiles(tmp_path / "tiles")).root() == log.frontier.root()
    for part, old, new in (
        ("entries", LEAVES[7], b"leaf xxx"),
        ("0", leaf_hash(LEAVES[7]), leaf_hash(b"leaf xxx")),
    ):
        full = tmp_path / "tiles" / "tile" / part / "000"
        content = full.read_bytes()
        assert content.count(old) == 1
        full.write_bytes(content.replace(old, new))
    with pytest.raises(ConfigurationError, match="tile 0 of level 0 was changed") as refused:
        load_frontier(state, TileFiles(tmp_path / "tiles"))
    assert refused.value.code == "log-damaged"
    state.close()
