# SPDX-License-Identifier: Apache-2.0
"""Attacks on a verifier of archives with signed members: a signature counts for the member that the log names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from signwright.client.verify import Check, Evidence, verify
from signwright.model.operation import Operation
from signwright.model.view import BytesView, View
from signwright.readers.base import Reading
from signwright.readers.pe import PeReader
from tests.support.receipts import Made, SignedWorld, failures

PATH = "bin/tool.exe"


class _Inside(SignedWorld):
    """Its operations are of a member."""

    def operations(self, kind: str, source: bytes) -> tuple[Operation, ...]:
        return tuple(one.model_copy(update={"inner_path": PATH}) for one in super().operations(kind, source))


@pytest.fixture(scope="module")
def world() -> _Inside:
    return _Inside()


@pytest.fixture(scope="module")
def made(world: _Inside) -> Made:
    return world.make("pe")


def checks(made: Made, world: SignedWorld, *paths: str) -> list[Check]:
    """As when the reader finds the signature in these members."""

    def read(view: View, content: View | None) -> Reading:
        reading = PeReader().read(view, content)
        found = tuple(replace(reading.signatures[0], inner_path=path) for path in paths)
        return replace(reading, signatures=found)

    assert made.bundle is not None
    # Who authorised it is another question, which the shareable receipt leaves out.
    evidence = Evidence(BytesView(made.view), None, read, made.bundle.public())
    return verify(evidence, world.trust(), at=world.now)


def test_a_signature_in_the_member_that_was_logged_is_told_with_its_path(made: Made, world: _Inside) -> None:
    told = checks(made, world, PATH)
    assert failures(told) == {}
    texts = {check.name: check.text for check in told}
    assert f"authenticode over sha256 in {PATH}; members that are not named here are not signed" in texts["signature"]
    assert texts["certificate"].startswith(f"{PATH}: ")
    assert texts["timestamp"].startswith(f"{PATH}: ")


@pytest.mark.parametrize("paths", [("",), ("bin/other.exe",), (PATH, "bin/other.exe"), ("a.zip/bin/tool.exe",)])
def test_the_same_signature_in_another_member_is_refused(made: Made, world: _Inside, paths: tuple[str, ...]) -> None:
    assert failures(checks(made, world, *paths)) == {"operation": "wrong-operation"}


def test_a_member_is_not_told_where_the_log_names_the_file_itself(world: _Inside) -> None:
    plain = SignedWorld(pki=world.pki)
    made = plain.make("pe")
    assert failures(checks(made, plain, "")) == {}
    assert failures(checks(made, plain, PATH)) == {"operation": "wrong-operation"}


def test_of_many_members_the_first_are_named(made: Made, world: _Inside) -> None:
    told = {check.name: check.text for check in checks(made, world, *(f"{n}.exe" for n in range(25)))}
    assert "in 19.exe, 5 more; members" in told["signature"]
