# SPDX-License-Identifier: Apache-2.0
"""The file before it is signed: when an old signature that does not hold is none, and when it stops everything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from signwright.errors import FormatError, LimitError, SignwrightError, UsageError, VerificationError
from signwright.model.framing import Frame
from signwright.model.view import BytesView, View
from signwright.readers.base import Reading
from signwright.signer.worker.jobs import JOBS
from signwright.signer.worker.task import Task
from tests.support.member_zips import Part, build, sample

STRIPPED = "ab" * 32


class Reader:
    """Finds what it is told to find, and says nothing about the file without its signatures."""

    name = "pe"

    def __init__(self, problem: SignwrightError | None) -> None:
        self._problem = problem

    def read(self, view: View, content: View | None = None) -> Reading:
        assert content is None
        if self._problem is not None:
            raise self._problem
        return Reading(self.name, (), "cd" * 32)

    def recognizes(self, view: View) -> bool:
        return True


class WithStripped(Reader):
    def stripped(self, view: View) -> str:
        return STRIPPED


class Unreadable(Reader):
    def stripped(self, view: View) -> str:
        raise FormatError("cut short", code="truncated")


@pytest.fixture
def known() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def asked(known: pytest.MonkeyPatch, reader: Reader, **message: object) -> Frame:
    known.setattr("signwright.signer.worker.jobs.READERS", {"pe": reader})
    return JOBS["read-source"](Task(Frame({"reader": "pe", **message}), [None]))  # type: ignore[list-item]


def stripped(frame: Frame) -> object:
    source = frame.message["source"]
    assert isinstance(source, dict)
    assert source["signatures"] == []
    return source["stripped_sha256"]


PROBLEMS = {
    "no-cms": FormatError("no CMS"),
    "another-file": VerificationError("another file's", code="digest-mismatch"),
    "sha-1": VerificationError("SHA-1", code="weak-digest"),
    "leaves-files-out": VerificationError("not of all", code="unsigned-entries"),
}


@pytest.mark.parametrize("kept", [True, False])
def test_file_that_reads_is_what_it_reads_as(known: pytest.MonkeyPatch, kept: bool) -> None:
    assert stripped(asked(known, WithStripped(None), kept=kept)) == "cd" * 32


@pytest.mark.parametrize("problem", PROBLEMS)
def test_signature_that_goes_may_be_any(known: pytest.MonkeyPatch, problem: str) -> None:
    assert stripped(asked(known, WithStripped(PROBLEMS[problem]), kept=False)) == STRIPPED


@pytest.mark.parametrize("problem", ["sha-1", "leaves-files-out"])
def test_signature_that_stays_may_be_one_that_is_not_counted(known: pytest.MonkeyPatch, problem: str) -> None:
    assert stripped(asked(known, WithStripped(PROBLEMS[problem]), kept=True)) == STRIPPED


@pytest.mark.parametrize("problem", ["no-cms", "another-file"])
def test_signature_that_stays_has_to_hold(known: pytest.MonkeyPatch, problem: str) -> None:
    with pytest.raises(SignwrightError) as refusal:
        asked(known, WithStripped(PROBLEMS[problem]), kept=True)
    assert refusal.value is PROBLEMS[problem]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_reader_that_cannot_leave_signatures_out_has_the_last_word(known: pytest.MonkeyPatch, problem: str) -> None:
    with pytest.raises(SignwrightError) as refusal:
        asked(known, Reader(PROBLEMS[problem]), kept=False)
    assert refusal.value is PROBLEMS[problem]


def test_file_that_does_not_read_without_its_signature_either_is_refused(known: pytest.MonkeyPatch) -> None:
    with pytest.raises(FormatError) as refusal:
        asked(known, Unreadable(PROBLEMS["no-cms"]), kept=False)
    assert refusal.value.code == "truncated"


def test_limit_is_no_matter_of_the_signature(known: pytest.MonkeyPatch) -> None:
    with pytest.raises(LimitError):
        asked(known, WithStripped(LimitError("too much")), kept=False)


@pytest.mark.parametrize("message", [{}, {"kept": None}, {"kept": 1}, {"kept": "true"}])
def test_asker_says_whether_signatures_stay(known: pytest.MonkeyPatch, message: dict[str, object]) -> None:
    with pytest.raises(UsageError) as refusal:
        asked(known, WithStripped(None), **message)
    assert refusal.value.code == "worker-usage"


def archive_task(**message: object) -> Frame:
    parts = [Part(f"{number}.exe", sample("pe", signed=True)) for number in range(500)]
    view: View = BytesView(build(parts))
    return JOBS["read-source"](Task(Frame({"reader": "zip", "kept": True, **message}), [view]))  # type: ignore[list-item]


def test_members_of_an_archive_send_what_they_have_in_common_once() -> None:
    frame = archive_task(signed=["0.exe"])
    source = frame.message["source"]
    assert isinstance(source, dict)
    assert len(source["signatures"]) == 500
    assert len(frame.parts) == len(set(frame.parts)) <= 10
    assert len(str(source["kept_sha256"])) == 64


@pytest.mark.parametrize("signed", ["0.exe", [1], {"0.exe": True}, 0])
def test_paths_that_are_signed_are_a_list_of_texts(signed: object) -> None:
    with pytest.raises(UsageError):
        archive_task(signed=signed)


def test_only_an_archive_keeps_members(known: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError):
        asked(known, Reader(None), kept=True, signed=[])
