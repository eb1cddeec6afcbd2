# SPDX-License-Identifier: Apache-2.0
"""How a custodian is told what became of what they confirmed, and how a request is printed for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from signwright.cli.custodian_view import request_lines
from signwright.cli.custodian_wait import wait_until_out
from signwright.client.custodian import WaitingRequest
from signwright.errors import DeniedError, PendingError, SignwrightError
from signwright.model.spoken import spoken
from tests.support.custodians import HEX, T, shown

ROW = WaitingRequest(shown(), shown().encode(), T)


def gate(*states: str, code: str = "") -> Callable[[dict[str, object]], dict[str, object]]:
    """Answers with one state after the other, the last one again and again."""
    left = list(states)

    def ask(message: dict[str, object]) -> dict[str, object]:
        assert message["requests"] == [HEX[0]]
        state = left.pop(0) if len(left) > 1 else left[0]
        return {"requests": {HEX[0]: {"state": state, "code": code, "message": "because"}}}

    return ask


def test_confirmation_is_waited_for_until_the_courier_has_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    states = ("confirmed", "verifying", "signing", "signed", "published")
    assert wait_until_out(gate(*states), [ROW], seconds=20) == {HEX[0]: "published"}
    said = capsys.readouterr().err
    assert f"signwright: {ROW.hub_name} verified again: because\n" in said
    assert f"signwright: {ROW.hub_name} signed, and the courier has the result: because\n" in said
    assert " confirmed" not in said, "what is known already is not said again"


@pytest.mark.parametrize(
    ("state", "kind", "code"),
    [
        ("denied", DeniedError, "attempts-used"),
        ("failed", SignwrightError, "attempts-used"),
        ("custodian", PendingError, "pending"),
        ("waiting", PendingError, "pending"),
    ],
)
def test_bad_end_is_an_error_of_its_own(state: str, kind: type[SignwrightError], code: str) -> None:
    with pytest.raises(kind, match=ROW.hub_name) as ended:
        wait_until_out(gate("verifying", state, code="attempts-used"), [ROW], seconds=20)
    assert ended.value.code == code
    assert ended.value.details["ends"] == {HEX[0]: state}


def test_result_that_nobody_fetches_is_waited_for_only_so_long() -> None:
    with pytest.raises(PendingError, match="the results are not out after 0 s"):
        wait_until_out(gate("signed"), [ROW], seconds=0)
    with pytest.raises(PendingError):
        wait_until_out(lambda _: {"requests": {}}, [ROW], seconds=0)


def test_request_is_printed_with_every_digest_in_both_forms() -> None:
    lines = list(request_lines(ROW, now=datetime(2026, 11, 21, 11, 0, tzinfo=UTC)))
    text = "\n".join(lines)
    assert text.count(spoken(HEX[0])) == text.count(spoken(HEX[2])) == 1
    assert {HEX[0], HEX[2]} <= set(text.split())
    assert "age        1 h 30 min; waits since 2026-11-21T09:30:00Z; ends in 0 min" in text
    assert "evidence   scan: clean by scanner" in text
    assert "exceptions local-witness" in text
    unseen = WaitingRequest(shown(content_read=False, approvals=(), source=None), b"", T)
    told = "\n".join(request_lines(unseen, now=datetime.now(UTC)))
    assert "content    NOT seen: digests alone" in told
    assert "approval   none; the policy wants none" in told
    assert "source" not in told
