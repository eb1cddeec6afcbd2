# SPDX-License-Identifier: Apache-2.0
"""A hostile gate and digests that nobody approved: only what the request names follows, once, and in its turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from signwright.model.operation import DerivedOperation, Operation, operation_list
from signwright.policy import documents as d
from signwright.statements.dsse import Envelope
from signwright.statements.models import RequestedArtifact
from tests.attacks.keyholder.test_hostile_gate import Keyholder, serving
from tests.attacks.keyholder.test_seen_content import SIGNATURE_FILE, operation
from tests.support.gates import taking
from tests.support.world import World

CONTENT = b"artifact"
MEMBER = {"path": "native/*", "action": "sign", "format": "pe"}
RULE = d.ArtifactRule.model_validate({"name": "*.jar", "format": "jar", "members": [MEMBER]})
LATER = DerivedOperation(template="jar", wave=1, algorithm="sha256")
OTHER = SIGNATURE_FILE.replace(b"AAAA", b"AABA", 1)


@pytest.fixture
def keyholder(tmp_path: Path) -> Iterator[Keyholder]:
    with serving(tmp_path, taking(World(), RULE, modes=("artifact",), derived="allow")) as held:
        yield held


def request(held: Keyholder, *later: DerivedOperation, **changes: Any) -> Envelope:
    member = held.signer.world.operation(CONTENT).model_copy(update={"inner_path": "native/lib.dll"})
    values = {"size": 8, "format": "jar", "operations": (member,), "derived": later or (LATER,)} | changes
    return held.signer.world.request(files={"a.jar": CONTENT}, artifacts=[RequestedArtifact(**values)])


def ordered(
    held: Keyholder,
    asked: Envelope,
    wave: int,
    *operations: Operation,
    attempt: int = 1,
    contents: Sequence[bytes] = (SIGNATURE_FILE,),
    **changes: Any,
) -> str:
    """Code of the answer to the order for a wave, "ok" when it was signed. ``operations``: None for the direct ones."""
    signer = held.signer
    written = operation_list((0, one) for one in operations) if operations else None
    message = signer.order(
        asked,
        approvals=signer.approved(asked),
        evidence=[signer.world.scan(CONTENT)],
        wave=wave,
        attempt=attempt,
        operations=written,
        contents=contents if wave else (),
        **changes,
    )
    answer = held.ask(*message)[0]
    if not answer["ok"]:
        return str(answer["code"])
    signer.followed.append((signer.log.seen.size, signer.log.seen.root))
    return "ok"


def test_direct_operations_then_those_that_follow_are_signed_once_each(keyholder: Keyholder) -> None:
    asked = request(keyholder)
    assert ordered(keyholder, asked, 0) == "ok"
    assert ordered(keyholder, asked, 1, operation(SIGNATURE_FILE)) == "ok"
    assert ordered(keyholder, asked, 1, operation(OTHER), contents=(OTHER,)) == "wrong-attempt"
    assert keyholder.operations == 2


def test_nothing_follows_before_what_it_follows_from_was_signed_in_the_same_attempt(keyholder: Keyholder) -> None:
    asked = request(keyholder)
    assert ordered(keyholder, asked, 1, operation(SIGNATURE_FILE)) == "wrong-wave"
    assert ordered(keyholder, asked, 0) == "ok"
    assert ordered(keyholder, asked, 1, operation(SIGNATURE_FILE), attempt=2) == "wrong-wave"
    assert ordered(keyholder, asked, 0, attempt=2) == "ok"
    assert ordered(keyholder, asked, 1, operation(SIGNATURE_FILE)) == "wrong-wave"
    assert ordered(keyholder, asked, 1, operation(SIGNATURE_FILE), attempt=2) == "ok"
    assert keyholder.operations == 3


def _changed(**update: Any) -> Callable[[World], list[Operation]]:
    return lambda _: [operation(SIGNATURE_FILE).model_copy(update=update)]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(_changed(inner_path="b.jar"), id="elsewhere"),
        pytest.param(_changed(template="cms-detached"), id="as-something-else"),
        pytest.param(_changed(parameters={"digest": "sha256:" + "00" * 32}), id="with-parameters"),
        pytest.param(_changed(digest="sha384:" + "00" * 48), id="another-algorithm"),
        pytest.param(lambda _: [operation(SIGNATURE_FILE), operation(OTHER)], id="one-more"),
        pytest.param(lambda world: [world.operation(CONTENT)], id="a-program"),
    ],
)
def test_what_the_request_does_not_name_does_not_follow(
    keyholder: Keyholder, make: Callable[[World], list[Operation]]
) -> None:
    asked = request(keyholder)
    assert ordered(keyholder, asked, 0) == "ok"
    found = make(keyholder.signer.world)
    code = ordered(keyholder, asked, 1, *found, contents=(SIGNATURE_FILE, OTHER)[: len(found)])
    assert code in {"wrong-operations", "bad-field"}
    assert keyholder.operations == 1


@pytest.mark.parametrize(
    "written",
    [b"[]", b"{}", b"", b"[1]", b'[{"digest":"sha256:' + b"0" * 64 + b'"}]', b'[{"digest":["sha256:00"]}]'],
)
def test_operation_list_that_is_none_is_refused(keyholder: Keyholder, written: bytes) -> None:
    asked = request(keyholder)
    assert ordered(keyholder, asked, 0) == "ok"
    signer = keyholder.signer
    evidence, approvals = [signer.world.scan(CONTENT)], signer.approved(asked)
    message = signer.order(asked, approvals=approvals, evidence=evidence, wave=1, operations=written)
    answer = keyholder.ask(*message)[0]
    assert (answer["ok"], answer["code"] in {"wrong-operations", "bad-field"}) == (False, True)
    assert keyholder.operations == 1


def test_operation_that_is_in_another_written_form_is_refused(keyholder: Keyholder) -> None:
    """Two lists with the same meaning would be two digests in the log."""
    asked = request(keyholder)
    assert ordered(keyholder, asked, 0) == "ok"
    signer = keyholder.signer
    honest = operation_list([(0, operation(SIGNATURE_FILE))])
    for written in (honest + b" ", honest.replace(b",", b", "), honest[:-1] + b"," + honest[1:]):
        message = signer.order(
            asked,
            approvals=signer.approved(asked),
            evidence=[signer.world.scan(CONTENT)],
            wave=1,
            operations=written,
            contents=[SIGNATURE_FILE],
        )
        assert keyholder.ask(*message)[0]["code"] == "wrong-operations"
    assert keyholder.operations == 1


def test_wave_that_the_request_does_not_name_is_refused(keyholder: Keyholder) -> None:
    asked = request(keyholder)
    assert ordered(keyholder, asked, 0) == "ok"
    assert ordered(keyholder, asked, 1, operation(SIGNATURE_FILE)) == "ok"
    assert ordered(keyholder, asked, 2, operation(OTHER), contents=(OTHER,)) == "wrong-operations"
    assert keyholder.operations == 2


def test_content_of_what_follows_is_seen_as_well(keyholder: Keyholder) -> None:
    asked = request(keyholder)
    assert ordered(keyholder, asked, 0) == "ok"
    assert ordered(keyholder, asked, 1, operation(SIGNATURE_FILE), contents=(OTHER,)) == "wrong-content"
    assert ordered(keyholder, asked, 1, operation(b"any"), contents=(b"any",)) == "other-purpose"
    assert keyholder.operations == 1


def test_leaf_that_passes_a_derived_digest_off_as_approved_is_refused(keyholder: Keyholder) -> None:
    asked = request(keyholder)
    assert ordered(keyholder, asked, 0) == "ok"
    changes = {"derived": False}
    assert ordered(keyholder, asked, 1, operation(SIGNATURE_FILE), leaf_changes=changes) == "wrong-intent"
    assert keyholder.operations == 1


@pytest.mark.parametrize("changes", [{}, {"derived": "refuse"}], ids=["unsaid", "refused"])
def test_policy_that_does_not_allow_it_gets_not_even_the_first_wave(tmp_path: Path, changes: dict[str, Any]) -> None:
    with serving(tmp_path, taking(World(), RULE, modes=("artifact",), **changes)) as held:
        asked = request(held)
        assert ordered(held, asked, 0) == "derived"
        assert ordered(held, asked, 1, operation(SIGNATURE_FILE)) == "derived"
        assert held.operations == 0


def test_what_follows_is_under_the_rules_for_its_artifact(keyholder: Keyholder) -> None:
    """Approved by people who were shown it: still no template of another format, and no options of others."""
    for later in (
        DerivedOperation(template="authenticode-pe", wave=1, algorithm="sha256"),
        DerivedOperation(template="jar", parameters={"turbo": True}, wave=1, algorithm="sha256"),
        DerivedOperation(inner_path="native/lib.dll", template="jar", wave=1, algorithm="sha256"),
    ):
        assert ordered(keyholder, request(keyholder, later), 0) in {"operation-format", "operation-option"}
    assert keyholder.operations == 0


@pytest.mark.parametrize(("most", "codes"), [(1, ["policy-quota", "wrong-wave"]), (2, ["ok", "ok"])])
def test_quota_has_to_have_room_for_all_waves_before_the_first(tmp_path: Path, most: int, codes: list[str]) -> None:
    with serving(tmp_path, taking(World(), RULE, modes=("artifact",), derived="allow", max_per_day=most)) as held:
        asked = request(held)
        assert [ordered(held, asked, 0), ordered(held, asked, 1, operation(SIGNATURE_FILE))] == codes
        # What is tried again is counted again.
        assert ordered(held, asked, 0, attempt=2) == "policy-quota"
        assert held.operations == codes.count("ok")
