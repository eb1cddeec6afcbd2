# SPDX-License-Identifier: Apache-2.0
"""``signwright log`` over HTTP: what an honest and a lying server hand out."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from signwright.cli.main import run
from signwright.model.times import format_time
from signwright.transparency.leaf import EpochLeaf
from signwright.transparency.proof import TlogProof
from tests.support.served_log import Served, served_log
from tests.support.signing import MemoryLog


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[Served]:
    with served_log(tmp_path, monkeypatch) as found:
        yield found


def test_leaves_are_shown(served, capsys):
    assert run(["log", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["genesis", "policy", "intent", "epoch"]
    assert run(["log", "show", "--from", "2", "--limit", "1", "--output", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["leaves"]
    assert (row["index"], row["type"]) == (2, "intent")
    assert run(["log", "show", "--from", "99"]) == 2


def test_a_proof_is_given_by_index_and_by_receipt(served, capsys, tmp_path):
    receipt = tmp_path / "fw.swreceipt"
    receipt.write_bytes(served.made.bundle.encode())
    for which in ("2", str(receipt)):
        assert run(["log", "proof", which, "-o", "proof"]) == 0
        leaf = capsys.readouterr().out.strip().encode()
        assert leaf == served.made.bundle.waves[0].intent.leaf_bytes()
        TlogProof.parse((tmp_path / "proof").read_bytes()).verify(leaf, served.world.trust().log_trust)


def test_a_receipt_whose_intent_the_log_does_not_have_fails(served, tmp_path):
    receipt = tmp_path / "other.swreceipt"
    served_log, served.world.log = served.world.log, MemoryLog(served.world.world)
    served.world.log.append(b"x", b"y")
    receipt.write_bytes(served.world.make("raw").bundle.encode())
    served.world.log = served_log
    assert run(["log", "proof", str(receipt)]) == 8


def test_the_log_is_checked_and_may_not_go_back(served, capsys):
    assert run(["log", "check"]) == 0
    assert "4 leaves make root" in capsys.readouterr().out
    old = dict(served.files)
    served.world.log.append(EpochLeaf(time=format_time(served.time)).encode())
    served.publish()
    assert run(["log", "check"]) == 0
    served.files = old
    assert run(["log", "check"]) == 8


def test_an_edited_entry_is_noticed(served):
    for name in [path for path in served.files if "entries" in path]:
        served.files[name] = served.files[name].replace(b'"profile":0', b'"profile":1', 1)
    for verb in (["log", "show"], ["log", "check"], ["log", "proof", "0"], ["monitor", "--once"]):
        assert run(verb) == 8, verb


def test_a_checkpoint_without_its_witness_is_refused(served, capsys):
    served.files["checkpoint"] = served.world.log.note(served.time, witnesses=[])
    assert run(["log", "show"]) == 8
    assert run(["monitor", "--once"]) == 8
    assert "ALARM no-quorum" in capsys.readouterr().out
