# SPDX-License-Identifier: Apache-2.0
"""A refusal fits into a frame, whatever it says."""

from __future__ import annotations

import pytest

from signwright.errors import DeniedError
from signwright.model.framing import encode_frame
from signwright.model.refusal import MAX_WORDS, UNFORESEEN, or_refusal, refusal


def test_details_are_told_unless_they_are_endless() -> None:
    assert refusal(DeniedError("no", details={"size": 7})) == {
        "size": 7,
        "ok": False,
        "code": "denied",
        "message": "no",
    }
    answer = refusal(DeniedError("no" * MAX_WORDS, details={"size": "\x00" * (MAX_WORDS + 1)}))
    assert "size" not in answer
    assert len(str(answer["message"])) == MAX_WORDS
    encode_frame(answer)


def test_details_do_not_stand_for_the_answer_itself() -> None:
    assert refusal(DeniedError("no", details={"ok": True, "code": "fine"}))["ok"] is False


@pytest.mark.parametrize("kind", UNFORESEEN)
def test_what_nobody_foresaw_is_a_refusal_and_a_failing_disk_is_not(kind: type[Exception]) -> None:
    def fails() -> None:
        raise kind

    found = or_refusal(fails)
    assert isinstance(found, DeniedError)
    assert found.code == "bad-message"

    def disk() -> None:
        raise OSError

    with pytest.raises(OSError):
        or_refusal(disk)
