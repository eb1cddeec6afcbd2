# SPDX-License-Identifier: Apache-2.0
"""Finished requests in the gate's database: what was written comes back, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from signwright.errors import UnavailableError
from signwright.model.framing import decode_frame, encode_frame
from signwright.signer.gate.outcome import Finished, SignedArtifact, SignedWave

ONE = SignedArtifact(b"receipt", b"patch", (b"e1", b"e2"), "ab" * 32)
DIGEST_MODE = SignedArtifact(b"receipt 2", None, (b"e3",), None)
FINISHED = Finished(
    policy_version=3,
    waves=(SignedWave(7, b"leaf 7", b"proof 7", b"[1]"), SignedWave(9, b"leaf 9", b"proof 9", b"[2]")),
    request=b"request",
    approvals=(b"a1", b"a2"),
    evidence=(b"scan",),
    artifacts=(ONE, DIGEST_MODE),
)


def test_finished_request_comes_back_as_it_was_with_all_its_waves() -> None:
    assert Finished.decode(FINISHED.encode()) == FINISHED


@pytest.mark.parametrize("name", ["approvals", "evidence", "policy", "intents", "artifacts"])
@pytest.mark.parametrize("value", [None, "x", 99])
def test_stored_result_that_is_damaged_or_of_another_version_is_none(name: str, value: object) -> None:
    frame = decode_frame(FINISHED.encode())
    changed = {**frame.message, name: value}
    if name == "policy" and value == 99:
        assert Finished.decode(encode_frame(changed, frame.parts)).policy_version == 99
        return
    without = {key: held for key, held in frame.message.items() if key != name}
    for message in (changed, without):
        with pytest.raises(UnavailableError):
            Finished.decode(encode_frame(message, frame.parts))


def test_stored_result_that_lost_a_part_is_none() -> None:
    frame = decode_frame(FINISHED.encode())
    with pytest.raises(UnavailableError):
        Finished.decode(encode_frame(frame.message, frame.parts[:-1]))
    with pytest.raises(UnavailableError):
        Finished.decode(b"no frame")
