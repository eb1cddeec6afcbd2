# SPDX-License-Identifier: Apache-2.0
"""A gate that sends rubbish to the real front: a message is refused or the gate is dropped, the front never breaks."""

from __future__ import annotations

import contextlib
import copy
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signwright.errors import LimitError, MalformedError
from signwright.model.framing import encode_frame, read_frame
from signwright.signer.keyholder.child import reader
from signwright.signer.keyholder.front import Front
from signwright.signer.keyholder.pool import Pool
from signwright.signer.keyholder.settings import KeySettings
from signwright.signer.keyholder.state import State
from tests.attacks.keyholder.test_hostile_gate import CONTENT, honest
from tests.support.doors import CountingKey
from tests.support.pki import default_pki
from tests.support.signing import SignerWorld

_RELAXED = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@dataclass
class Served:
    """A front on a thread; ``ended`` holds what ended it: "hung up", or the error that broke it."""

    signer: SignerWorld
    folder: Path
    patience: float = 30.0
    ended: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.marks = self.folder / "marks"
        secret = self.folder / "secret"
        secret.write_text("x")
        secret.chmod(0o600)
        self.keys = {"release": KeySettings(store="software", secret_file=str(secret))}
        self.gate, self._theirs = socket.socketpair()
        self.gate.settimeout(20)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        file = self.folder / "state.sqlite3"
        state = State(file, genesis=None if file.exists() else self.signer.parts[3])
        pool = Pool(self.keys, state, {"software": lambda _: CountingKey(self.marks)})
        try:
            front = Front(state, pool, profile=0, now=lambda: self.signer.world.now, patience=self.patience)
            front.serve(self._theirs)
            self.ended.append("hung up")
        except BaseException as problem:  # noqa: BLE001 - whatever broke it is what the test is about
            self.ended.append(problem)
        finally:
            pool.close()
            self._theirs.close()

    @property
    def operations(self) -> int:
        return len(self.marks.read_bytes()) if self.marks.exists() else 0

    def send(self, wire: bytes) -> None:
        self.gate.sendall(wire)

    def answer(self) -> dict[str, Any]:
        return read_frame(reader(self.gate)).message

    def ask(self, message: dict[str, Any], parts: list[bytes]) -> dict[str, Any]:
        self.send(encode_frame(message, parts))
        return self.answer()

    def load_policy(self) -> None:
        assert self.ask(*self.signer.policy_message())["ok"] is True
        self.signer.loaded_policy()
        self.start()

    def start(self) -> None:
        """This process stands in the log."""
        assert self.read_and_start()["ok"] is True

    def read_and_start(self, **changes: Any) -> dict[str, Any]:
        """What the keyholder says to its start. ``changes``: of its leaf."""
        messages = self.signer.start_messages(self.ask({"verb": "status", "id": 0}, []), **changes)
        return [self.ask(*message) for message in messages][-1]

    def end(self) -> object:
        """Hang up and say what ended the front."""
        self.gate.close()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        return self.ended[0]

    def dropped(self) -> object:
        """Wait for the front to hang up by itself."""
        with contextlib.suppress(ConnectionResetError):  # what a hang-up looks like when it had not read everything
            assert self.gate.recv(1) == b""
        return self.end()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    one = Served(SignerWorld(default_pki().code_signing("p256")), tmp_path)
    try:
        one.load_policy()
        yield one
    finally:
        one.end()


def headed(header: bytes) -> bytes:
    return len(header).to_bytes(4, "big") + header


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@_RELAXED
@given(member=st.sampled_from(["verb", "id", "approvals", "evidence", "consistency", "documents"]), value=JSON)
def test_any_value_of_any_member_is_refused(served: Served, member: str, value: object) -> None:
    for verb in ("order", "policy"):
        answer = served.ask(
            {"verb": verb, "id": 7, "approvals": 0, "evidence": 0, "consistency": [], member: value}, []
        )
        assert answer["ok"] is False or value == "status"
    assert served.ask({"verb": "status", "id": 9}, [])["ok"] is True
    assert served.operations == 0


@pytest.mark.parametrize(
    "rows",
    [
        [{}],
        [None],
        ["x"],
        [{"size": 1, "root": "zz", "hashes": []}],
        [{"size": "1", "root": "00" * 32, "hashes": []}],
        [{"size": -1, "root": "00" * 32, "hashes": ["x"]}],
        [{"size": 1 << 70, "root": "00" * 32, "hashes": ["AA=="] * 3}],
        [{"size": 1, "root": "00" * 32, "hashes": ["é"], "more": 1}],
    ],
)
def test_rubbish_consistency_row_is_refused(served: Served, rows: list[object]) -> None:
    message, parts = honest(served.signer)
    assert served.ask(message | {"consistency": rows}, parts)["ok"] is False
    assert served.operations == 0


def test_hashes_that_are_not_base64_are_refused(served: Served) -> None:
    message, parts = honest(served.signer)
    rows = copy.deepcopy(message["consistency"])
    assert rows
    for row in rows:
        row["hashes"] = ["A"]
    assert served.ask(message | {"consistency": rows}, parts)["code"] == "bad-base64"
    assert served.operations == 0


@_RELAXED
@given(index=st.integers(0, 7), at=st.integers(0, 1 << 20), cut=st.booleans())
def test_order_with_a_changed_part_is_refused_and_the_next_one_is_heard(
    served: Served, index: int, at: int, cut: bool
) -> None:
    message, parts = honest(served.signer)
    part = bytearray(parts[index])
    if cut:
        del part[at % len(part) :]
    else:
        part[at // 8 % len(part)] ^= 1 << at % 8
    parts[index] = bytes(part)
    assert served.ask(message, parts)["ok"] is False
    assert served.operations == 0


def test_refusal_too_long_to_send_is_sent_short(served: Served) -> None:
    request = served.signer.world.request(files={"setup.exe": CONTENT})
    world, signer = served.signer.world, served.signer
    no = world.approval(
        request, "alice", policy=signer.policy, checkpoint=signer.log.seen, decision="deny", comment="x" * 2000
    )
    message, parts = honest(signer, request=request, approvals=[no])
    message["approvals"] = 3000
    answer = served.ask(message, [*parts[:5], *[no.encode()] * 3000, *parts[6:]])
    assert answer["ok"] is False
    assert served.operations == 0


@pytest.mark.parametrize("name", ["id", "verb"])
def test_member_too_long_to_repeat_is_refused(served: Served, name: str) -> None:
    assert served.ask({"verb": "?", "id": 1, name: "\U0001f600" * 300_000}, [])["ok"] is False
    assert served.ask({"verb": "status", "id": 9}, [])["ok"] is True


@pytest.mark.parametrize(
    "wire",
    [
        bytes(4),
        b"\xff" * 8,
        b"\0\0\0\x02[]",
        b"\0\0\0\x02{}",
        b"\0\0\0\x04nope",
        headed(b'{"message":[],"parts":[]}'),
        headed(b'{"message":{},"parts":[-1]}'),
        headed(b'{"message":{},"parts":[1099511627776]}'),
        headed(b'{"message":' + b"[" * 100_000),
    ],
    ids=range(9),
)
def test_frame_that_is_none_drops_the_gate_in_good_order(served: Served, wire: bytes) -> None:
    served.send(wire)
    assert served.dropped() == "hung up"
    assert served.operations == 0


def test_gate_that_hangs_up_in_the_middle_of_a_frame_ends_the_front_in_good_order(served: Served) -> None:
    served.send(encode_frame({"verb": "status", "id": 1})[:-3])
    assert served.end() == "hung up"


def test_gate_that_stops_in_the_middle_of_a_frame_is_dropped(tmp_path: Path) -> None:
    served = Served(SignerWorld(default_pki().code_signing("p256")), tmp_path, patience=0.3)
    try:
        served.load_policy()
        served.send(encode_frame({"verb": "status", "id": 1}, [bytes(100)])[:-1])
        assert served.dropped() == "hung up"
    finally:
        served.end()


def test_gate_that_hangs_up_before_its_answer_loses_the_signature_but_not_the_claim(tmp_path: Path) -> None:
    signer = SignerWorld(default_pki().code_signing("p256"))
    served = Served(signer, tmp_path)
    served.load_policy()
    message, parts = honest(signer)
    served.send(encode_frame(message, parts))
    deadline = time.monotonic() + 20
    while not served.operations and time.monotonic() < deadline:
        time.sleep(0.005)
    assert served.end() == "hung up"
    again = Served(signer, tmp_path)
    try:
        again.start()
        answer = again.ask(message, parts)
        assert (answer["ok"], answer["code"]) == (False, "log-rollback"), "its proof is older than the start"
        assert again.operations == 1
    finally:
        again.end()


def test_bad_order_in_a_group_spoils_no_other(served: Served) -> None:
    message, parts = honest(served.signer)
    bad = encode_frame({**message, "id": 1, "consistency": [None]}, parts)
    good = encode_frame({**message, "id": 2}, parts)
    twice = encode_frame({**message, "id": 3}, parts)
    served.send(bad + good + twice)
    answers = {}
    for _ in range(3):
        frame = read_frame(reader(served.gate))
        answers[frame.message["id"]] = frame.message
    assert answers[1]["ok"] is False
    assert answers[2]["ok"] is True
    assert answers[3]["code"] == "intent-used"
    assert served.operations == 1


def test_errors_of_framing_are_the_two_that_the_front_expects() -> None:
    for header in (b"x", b"[]", b'{"message":{},"parts":[-1]}'):
        wire = headed(header)
        at = iter([wire[:4], wire[4:]])
        with pytest.raises((MalformedError, LimitError)):
            read_frame(lambda _: next(at))  # noqa: B023
