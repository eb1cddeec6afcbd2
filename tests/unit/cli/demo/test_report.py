# SPDX-License-Identifier: Apache-2.0
"""The demonstration's own judgement: one wrong reason and it has failed."""

from __future__ import annotations

import pytest

from signwright.cli.demo.refusals import eicar
from signwright.cli.demo.report import Report


def report() -> Report:
    return Report(lambda _text, _style: None)


def test_refusal_with_the_wrong_reason_is_a_failure() -> None:
    found = report()
    with found.step(1, "one"):
        assert found.fact("good", wanted="denied/scan", found="denied/scan")
        assert found.ok is False, "a step that is not over proves nothing"
        assert not found.fact("bad", wanted="denied/scan", found="denied/submitter")
    assert found.ok is False


def test_step_that_was_broken_off_is_a_failure() -> None:
    found = report()

    with pytest.raises(KeyboardInterrupt), found.step(1, "one"):
        found.fact("good", wanted="x", found="x")
        raise KeyboardInterrupt
    assert found.ok is False
    assert found.as_json(seconds=1.0)["ok"] is False


def test_report_without_facts_is_a_failure() -> None:
    found = report()
    with found.step(1, "one"):
        pass
    assert found.ok is False


def test_report_of_good_facts_is_good() -> None:
    found = report()
    with found.step(1, "one"):
        found.fact("good", wanted="x", found="x")
    assert found.ok is True


def test_test_virus_is_the_published_one() -> None:
    assert len(eicar()) == 68
    assert eicar().startswith(b"X5O!")
