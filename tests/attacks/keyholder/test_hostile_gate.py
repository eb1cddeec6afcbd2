# SPDX-License-Identifier: Apache-2.0
"""A gate that lies to the keyholder. It owns the gate's key and the log's key; it gets no key operation."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from signwright.model.framing import encode_frame, read_frame
from signwright.model.times import format_time
from signwright.signer.keyholder.child import reader
from signwright.signer.keyholder.front import Front
from signwright.signer.keyholder.pool import Pool
from signwright.signer.keyholder.settings import KeySettings
from signwright.signer.keyholder.state import State
from signwright.statements.models import RequestedArtifact, SeenCheckpoint
from signwright.transparency.note import COSIGNATURE_V1
from signwright.transparency.signing import SignerKey
from tests.support.doors import CountingKey
from tests.support.pki import default_pki
from tests.support.signing import SignerWorld
from tests.support.world import ORIGIN, World

CONTENT = b"artifact"


@dataclass
class Keyholder:
    """A real front with a real pool; only the key counts."""

    signer: SignerWorld
    marks: Path
    gate: socket.socket
    started: bool = False

    @property
    def operations(self) -> int:
        return len(self.marks.read_bytes()) if self.marks.exists() else 0

    def ask(self, message: dict[str, Any], parts: list[bytes]) -> tuple[dict[str, Any], tuple[bytes, ...]]:
        self.gate.sendall(encode_frame(message, parts))
        frame = read_frame(reader(self.gate))
        return frame.message, frame.parts

    def load_policy(self, parts: tuple[Any, ...] | None = None) -> dict[str, Any]:
        answer = self.ask(*self.signer.policy_message(parts))[0]
        if answer["ok"]:
            self.signer.loaded_policy(parts)
            self.start()
        return answer

    def start(self) -> None:
        """Logged once for this process; a second one changes nothing."""
        if not self.started:
            for message in self.signer.start_messages(self.ask({"verb": "status", "id": 0}, [])[0]):
                answer = self.ask(*message)[0]
                assert answer["ok"] is True, answer
            self.started = True


@pytest.fixture
def keyholder(tmp_path: Path) -> Iterator[Keyholder]:
    with serving(tmp_path, World()) as held:
        yield held


@contextmanager
def serving(tmp_path: Path, world: World) -> Iterator[Keyholder]:
    """A keyholder under the policy of ``world``."""
    signer = SignerWorld(default_pki().code_signing("p256"), world)
    marks = tmp_path / "marks"
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    settings = {"release": KeySettings(store="software", secret_file=str(secret))}
    ours, theirs = socket.socketpair()

    def serve() -> None:
        state = State(tmp_path / "state.sqlite3", genesis=signer.parts[3])
        pool = Pool(settings, state, {"software": lambda _: CountingKey(marks)})
        try:
            Front(state, pool, profile=0, now=lambda: signer.world.now).serve(theirs)
        finally:
            pool.close()
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    held = Keyholder(signer, marks, ours)
    try:
        assert held.load_policy()["ok"] is True
        yield held
    finally:
        ours.close()
        thread.join(timeout=20)


def honest(signer: SignerWorld, **changes: Any) -> tuple[dict[str, Any], list[bytes]]:
    request = changes.pop("request", None) or signer.world.request(files={"setup.exe": CONTENT}, artifacts=[artifact()])
    values = {"approvals": signer.approved(request), "evidence": [signer.world.scan(CONTENT)]} | changes
    return signer.order(request, **values)


def artifact(**changes: Any) -> RequestedArtifact:
    operation = World().operation(CONTENT)
    return RequestedArtifact(**({"size": len(CONTENT), "format": "pe", "operations": (operation,)} | changes))


def test_honest_order_is_signed_once(keyholder: Keyholder) -> None:
    message, parts = keyholder.ask(*honest(keyholder.signer))
    assert message["ok"] is True, message
    assert len(parts) == 1
    assert keyholder.operations == 1


Lie = Callable[[SignerWorld], tuple[dict[str, Any], list[bytes]]]


def _request(signer: SignerWorld, **changes: Any) -> Any:
    return signer.world.request(files={"setup.exe": CONTENT}, artifacts=[artifact()], **changes)


def one_approval(signer: SignerWorld) -> Any:
    request = _request(signer)
    return honest(signer, request=request, approvals=signer.approved(request, ["alice"]))


def one_person_twice(signer: SignerWorld) -> Any:
    request = _request(signer)
    return honest(signer, request=request, approvals=signer.approved(request, ["alice", "alice"]))


def one_person_under_two_names(signer: SignerWorld) -> Any:
    request = _request(signer)
    world = signer.world
    second = world.approval(request, "bob", policy=signer.policy, checkpoint=signer.log.seen, key=world.people["alice"])
    return honest(signer, request=request, approvals=[*signer.approved(request, ["alice"]), second])


def approvals_of_another_request(signer: SignerWorld) -> Any:
    return honest(signer, request=_request(signer), approvals=signer.approved(_request(signer)))


def no_scan(signer: SignerWorld) -> Any:
    return honest(signer, evidence=[])


def forged_scan(signer: SignerWorld) -> Any:
    return honest(signer, evidence=[signer.world.scan(CONTENT, key=signer.world.gate)])


def scan_of_other_bytes(signer: SignerWorld) -> Any:
    return honest(signer, evidence=[signer.world.scan(b"other")])


def infected(signer: SignerWorld) -> Any:
    return honest(signer, evidence=[signer.world.scan(CONTENT, "infected")])


def old_scan(signer: SignerWorld) -> Any:
    old = format_time(signer.world.now - timedelta(hours=25))
    return honest(signer, evidence=[signer.world.scan(CONTENT, created=old)])


def test_credential_asks_for_release(signer: SignerWorld) -> Any:
    return honest(signer, request=_request(signer, key=signer.world.test_credential))


test_credential_asks_for_release.__test__ = False  # type: ignore[attr-defined]


def unknown_credential(signer: SignerWorld) -> Any:
    return honest(signer, request=_request(signer, key=signer.world.gate))


def expired_request(signer: SignerWorld) -> Any:
    then = signer.world.now - timedelta(days=2)
    times = {"created": format_time(then), "expires": format_time(then + timedelta(hours=1))}
    return honest(signer, request=_request(signer, **times))


def digest_mode(signer: SignerWorld) -> Any:
    return honest(signer, request=_request(signer, mode="digest"), evidence=[])


def unlisted_option(signer: SignerWorld) -> Any:
    request = signer.world.request(files={"a.exe": CONTENT}, artifacts=[artifact(options={"turbo": True})])
    return honest(signer, request=request)


def raw_template_on_a_cms_key(signer: SignerWorld) -> Any:
    operation = signer.world.operation(CONTENT, "raw")
    request = signer.world.request(files={"a.exe": CONTENT}, artifacts=[artifact(operations=(operation,))])
    return honest(signer, request=request)


def unknown_template(signer: SignerWorld) -> Any:
    operation = signer.world.operation(CONTENT, "openpgp")
    request = signer.world.request(files={"a.exe": CONTENT}, artifacts=[artifact(operations=(operation,))])
    return honest(signer, request=request)


def other_operations(signer: SignerWorld) -> Any:
    from signwright.model.operation import operation_list

    other = signer.world.operation(b"evil")
    return honest(signer, operations=operation_list([(0, other)]))


def leaf_about_another_key(signer: SignerWorld) -> Any:
    return honest(signer, leaf_changes={"key": "00" * 32})


def leaf_that_calls_it_a_test(signer: SignerWorld) -> Any:
    return honest(signer, leaf_changes={"kind": "test"})


def leaf_without_approvals(signer: SignerWorld) -> Any:
    return honest(signer, leaf_changes={"approvals": ()})


def leaf_of_another_wave(signer: SignerWorld) -> Any:
    return honest(signer, leaf_changes={"wave": 1})


def second_wave(signer: SignerWorld) -> Any:
    return honest(signer, wave=1)


def leaf_with_another_time(signer: SignerWorld) -> Any:
    return honest(signer, leaf_changes={"signing_time": format_time(signer.world.now - timedelta(hours=1))})


def no_cosignature(signer: SignerWorld) -> Any:
    """A note about the log as it was before the leaf, without a witness."""
    signer.log.append(b"x")
    return honest(signer, note=signer.log.note(signer.world.now, witnesses=[]))


def uncosigned_checkpoint(signer: SignerWorld) -> Any:
    signer.log.witness = SignerKey("w9", COSIGNATURE_V1, bytes(32))
    return honest(signer)


def cosignature_of_an_impostor(signer: SignerWorld) -> Any:
    signer.log.witness = SignerKey("w1", COSIGNATURE_V1, bytes(32))
    return honest(signer)


def cosigned_an_hour_ago(signer: SignerWorld) -> Any:
    honest_note = signer.log.note
    signer.log.note = lambda time, **_: honest_note(time - timedelta(hours=1))  # type: ignore[method-assign]
    return honest(signer)


def cosigned_in_the_future(signer: SignerWorld) -> Any:
    honest_note = signer.log.note
    signer.log.note = lambda time, **_: honest_note(time + timedelta(hours=1))  # type: ignore[method-assign]
    return honest(signer)


def approver_has_seen_a_longer_log(signer: SignerWorld) -> Any:
    request = _request(signer)
    seen = SeenCheckpoint(origin=ORIGIN, size=99, root="11" * 32)
    people = [signer.world.approval(request, p, policy=signer.policy, checkpoint=seen) for p in ("alice", "bob")]
    return honest(signer, request=request, approvals=people)


def approver_has_seen_a_fork(signer: SignerWorld) -> Any:
    request = _request(signer)
    seen = SeenCheckpoint(origin=ORIGIN, size=2, root="11" * 32)
    people = [signer.world.approval(request, p, policy=signer.policy, checkpoint=seen) for p in ("alice", "bob")]
    return honest(signer, request=request, approvals=people)


def approver_has_seen_another_log(signer: SignerWorld) -> Any:
    request = _request(signer)
    seen = signer.log.seen.model_copy(update={"origin": "elsewhere"})
    people = [signer.world.approval(request, p, policy=signer.policy, checkpoint=seen) for p in ("alice", "bob")]
    return honest(signer, request=request, approvals=people)


def order_for_another_request(signer: SignerWorld) -> Any:
    return honest(signer, changes={"request": "22" * 32})


def order_of_another_leaf(signer: SignerWorld) -> Any:
    return honest(signer, changes={"leaf_sha256": "22" * 32})


def order_with_another_index(signer: SignerWorld) -> Any:
    return honest(signer, changes={"leaf_index": 1})


def order_under_another_policy(signer: SignerWorld) -> Any:
    return honest(signer, changes={"policy_sha256": "22" * 32})


def order_signed_by_nobody(signer: SignerWorld) -> Any:
    signer.world.gate = signer.world.scanner
    return honest(signer)


def edited_request(signer: SignerWorld) -> Any:
    message, parts = honest(signer)
    parts[1] = _request(signer).encode()
    return message, parts


def no_freshness(signer: SignerWorld) -> Any:
    return honest(signer, fresh=False)


def forged_freshness(signer: SignerWorld) -> Any:
    said = signer.world.freshness(root_sha256=signer.parts[3], key=signer.world.gate)
    return honest(signer, evidence=[signer.world.scan(CONTENT), said], fresh=False)


def old_freshness(signer: SignerWorld) -> Any:
    now = signer.world.now
    times = {"created": format_time(now - timedelta(hours=24)), "expires": format_time(now + timedelta(hours=24))}
    said = signer.world.freshness(root_sha256=signer.parts[3], **times)
    return honest(signer, evidence=[signer.world.scan(CONTENT), said], fresh=False)


def freshness_of_another_root(signer: SignerWorld) -> Any:
    said = signer.world.freshness(root_sha256="00" * 32)
    return honest(signer, evidence=[signer.world.scan(CONTENT), said], fresh=False)


def freshness_that_wants_a_newer_policy(signer: SignerWorld) -> Any:
    said = signer.world.freshness(root_sha256=signer.parts[3], minimum_policy_version=2)
    return honest(signer, evidence=[signer.world.scan(CONTENT), said], fresh=False)


def approval_of_a_revoked_person(signer: SignerWorld) -> Any:
    said = signer.world.freshness(root_sha256=signer.parts[3], number=2, revoked_people=("bob",))
    return honest(signer, evidence=[signer.world.scan(CONTENT), said], fresh=False)


def newer_freshness_hidden_behind_an_older_one(signer: SignerWorld) -> Any:
    """Both come along; the higher number counts, whatever the gate would rather have."""
    said = signer.world.freshness(root_sha256=signer.parts[3], number=2, revoked_people=("bob",))
    return honest(signer, evidence=[signer.world.scan(CONTENT), said])


LIES: list[tuple[Lie, str]] = [
    (no_freshness, "freshness"),
    (forged_freshness, "unverified-statement"),
    (old_freshness, "freshness"),
    (freshness_of_another_root, "unverified-statement"),
    (freshness_that_wants_a_newer_policy, "stale-policy"),
    (approval_of_a_revoked_person, "unverified-statement"),
    (newer_freshness_hidden_behind_an_older_one, "unverified-statement"),
    (one_approval, "approvals"),
    (one_person_twice, "approvals"),
    (one_person_under_two_names, "unverified-statement"),
    (approvals_of_another_request, "unverified-statement"),
    (no_scan, "scan"),
    (forged_scan, "unverified-statement"),
    (scan_of_other_bytes, "unverified-statement"),
    (infected, "scan"),
    (old_scan, "scan"),
    (test_credential_asks_for_release, "submitter"),
    (unknown_credential, "submitter"),
    (expired_request, "request-expired"),
    (digest_mode, "mode"),
    (unlisted_option, "option"),
    (raw_template_on_a_cms_key, "key-family"),
    (unknown_template, "template"),
    (other_operations, "wrong-operations"),
    (leaf_about_another_key, "wrong-intent"),
    (leaf_that_calls_it_a_test, "wrong-intent"),
    (leaf_without_approvals, "wrong-intent"),
    (leaf_of_another_wave, "wrong-intent"),
    (second_wave, "wrong-operations"),
    (leaf_with_another_time, "wrong-time"),
    (no_cosignature, "no-quorum"),
    (uncosigned_checkpoint, "no-quorum"),
    (cosignature_of_an_impostor, "no-quorum"),
    (cosigned_an_hour_ago, "wrong-time"),
    (cosigned_in_the_future, "cosigned-in-the-future"),
    (approver_has_seen_a_longer_log, "log-rollback"),
    (approver_has_seen_a_fork, "log-fork"),
    (approver_has_seen_another_log, "wrong-origin"),
    (order_for_another_request, "wrong-request"),
    (order_of_another_leaf, "wrong-attachment"),
    (order_with_another_index, "wrong-proof"),
    (order_under_another_policy, "other-policy"),
    (order_signed_by_nobody, "not-the-gate"),
    (edited_request, "unverified-statement"),
]


@pytest.mark.parametrize(("lie", "code"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_lie_is_refused_without_a_key_operation(keyholder: Keyholder, lie: Lie, code: str) -> None:
    message, parts = keyholder.ask(*lie(keyholder.signer))
    assert (message["ok"], message.get("code")) == (False, code), message
    assert not parts
    assert keyholder.operations == 0


def test_earlier_attempt_after_a_later_one_is_refused(keyholder: Keyholder) -> None:
    request = _request(keyholder.signer)
    later, _ = keyholder.ask(*honest(keyholder.signer, request=request, attempt=2))
    assert later["ok"], later
    last = keyholder.signer.log.seen
    again = honest(keyholder.signer, request=request, attempt=1, seen=[(last.size, last.root)])
    earlier, parts = keyholder.ask(*again)
    assert (earlier["ok"], earlier.get("code")) == (False, "wrong-attempt"), earlier
    assert not parts
    assert keyholder.operations == 1


def test_order_replayed_is_refused(keyholder: Keyholder) -> None:
    message, parts = honest(keyholder.signer)
    assert keyholder.ask(message, parts)[0]["ok"] is True
    again, _ = keyholder.ask(message, parts)
    assert (again["ok"], again["code"]) == (False, "intent-used")
    assert keyholder.operations == 1


def test_log_taken_back_after_an_order_is_refused(keyholder: Keyholder) -> None:
    signer = keyholder.signer
    older = dict(signer.log.tiles), signer.log.frontier
    assert keyholder.ask(*honest(signer))[0]["ok"] is True
    signer.log.tiles, signer.log.frontier = older
    refused, _ = keyholder.ask(*honest(signer))
    assert (refused["ok"], refused["code"]) == (False, "log-fork")
    assert keyholder.operations == 1


def test_older_policy_is_refused(keyholder: Keyholder) -> None:
    signer = keyholder.signer
    newer = signer.world.policy_parts()
    assert keyholder.load_policy(newer)["ok"] is True
    refused = keyholder.load_policy(signer.parts)
    assert (refused["ok"], refused["code"]) == (False, "policy-rollback")


def test_policy_of_another_keeper_is_refused(keyholder: Keyholder) -> None:
    stranger = World()
    refused = keyholder.load_policy(stranger.policy_parts())
    assert (refused["ok"], refused["code"]) == (False, "unknown-policy-root")


def test_approvals_lapse_with_a_new_policy(keyholder: Keyholder) -> None:
    signer = keyholder.signer
    request = _request(signer)
    old = signer.approved(request)
    signer.parts = signer.world.policy_parts()
    from signwright.policy.policy import open_policy

    signer.policy = open_policy(*signer.parts[:3], pinned_root_sha256=signer.parts[3])
    assert keyholder.load_policy()["ok"] is True
    refused, _ = keyholder.ask(*honest(signer, request=request, approvals=old))
    assert (refused["ok"], refused["code"]) == (False, "approvals")
    assert keyholder.operations == 0
