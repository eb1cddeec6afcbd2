# SPDX-License-Identifier: Apache-2.0
"""What the keyholder counts, and claims that come in one group."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from signwright.model.framing import encode_frame, read_frame
from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.policy.orders import Claim
from signwright.policy.policy import open_policy
from signwright.signer.keyholder.child import reader
from signwright.signer.keyholder.state import State
from tests.attacks.keyholder.test_hostile_gate import CONTENT, Keyholder, honest, keyholder
from tests.support.world import NOW

__all__ = ["keyholder"]


def test_quota_holds_for_whole_24_hours(tmp_path: Path) -> None:
    """Hours are counted whole: what was used at 10:59 still counts at 10:30 of the next day."""
    state = State(tmp_path / "state", genesis="00" * 32)
    used, later = NOW.replace(minute=59), NOW.replace(minute=59) + timedelta(hours=23, minutes=31)
    state.begin()
    claim = Claim(1, "aa", 0, 1, (("key release", 5),), 0)
    state.claim(claim, hour=int(used.timestamp()) // 3600, size=2, root=bytes(32))
    state.commit()
    assert state.used("key release", int(later.timestamp()) // 3600) == 5
    assert state.used("key release", int((later + timedelta(hours=2)).timestamp()) // 3600) == 0


def test_orders_of_one_group_share_the_quota(keyholder: Keyholder) -> None:
    signer = keyholder.signer
    release = signer.world.default_key("release").model_copy(
        update={
            "public_key": signer.world.keys["release"].public_key,
            "chain": signer.world.keys["release"].chain,
            "max_per_day": 1,
        }
    )
    signer.world.keys["release"] = release
    signer.parts = signer.world.policy_parts()
    signer.policy = open_policy(*signer.parts[:3], pinned_root_sha256=signer.parts[3])
    assert keyholder.load_policy()["ok"] is True
    orders = [honest(signer) for _ in range(3)]
    keyholder.gate.sendall(b"".join(encode_frame({**m, "id": n}, p) for n, (m, p) in enumerate(orders)))
    answers = [read_frame(reader(keyholder.gate)).message for _ in orders]
    assert sorted(str(a.get("code")) for a in answers) == ["None", "key-quota", "key-quota"]
    assert keyholder.operations == 1


def test_one_intent_twice_in_one_group_is_signed_once(keyholder: Keyholder) -> None:
    message, parts = honest(keyholder.signer)
    keyholder.gate.sendall(encode_frame({**message, "id": 1}, parts) + encode_frame({**message, "id": 2}, parts))
    answers = [read_frame(reader(keyholder.gate)).message for _ in range(2)]
    assert sorted(str(a.get("code")) for a in answers) == ["None", "intent-used"]
    assert keyholder.operations == 1


def test_two_leaves_for_one_attempt_in_one_group_are_signed_once(keyholder: Keyholder) -> None:
    signer = keyholder.signer
    from tests.attacks.keyholder.test_hostile_gate import artifact

    request = signer.world.request(files={"setup.exe": CONTENT}, artifacts=[artifact()])
    people = signer.approved(request)
    orders = [honest(signer, request=request, approvals=people) for _ in range(2)]
    keyholder.gate.sendall(b"".join(encode_frame({**m, "id": n}, p) for n, (m, p) in enumerate(orders)))
    answers = [read_frame(reader(keyholder.gate)).message for _ in orders]
    # The second leaf makes the log longer than the first order's proof says, so either one may be the refused one.
    assert sum(a["ok"] is True for a in answers) == 1
    assert keyholder.operations == 1


def test_same_version_with_other_content_is_refused(keyholder: Keyholder) -> None:
    signer = keyholder.signer
    signer.world.version -= 1
    refused = keyholder.load_policy(signer.world.policy_parts(created=NOW - timedelta(minutes=1)))
    assert (refused["ok"], refused["code"]) == (False, "policy-rollback")
    assert keyholder.load_policy()["ok"] is True


def test_expired_policy_signs_nothing(keyholder: Keyholder) -> None:
    signer = keyholder.signer
    signer.parts = signer.world.policy_parts(expires=NOW - timedelta(seconds=1))
    signer.policy = open_policy(*signer.parts[:3], pinned_root_sha256=signer.parts[3])
    assert keyholder.load_policy()["ok"] is True
    refused, _ = keyholder.ask(*honest(signer))
    assert (refused["ok"], refused["code"]) == (False, "policy-expired")
    assert keyholder.operations == 0


def test_order_under_an_exception_is_refused_from_its_end_on(keyholder: Keyholder) -> None:
    """Two orders of one moment: the first comes in time, the second when the exception has ended."""
    signer = keyholder.signer
    ends = signer.world.now + timedelta(minutes=2)
    organisation: d.Organisation = signer.world.documents()["organisation"]  # type: ignore[assignment]
    rows = tuple(row.model_copy(update={"expires": format_time(ends)}) for row in organisation.exceptions)
    signer.world.with_documents(organisation=organisation.model_copy(update={"exceptions": rows}))
    signer.parts = signer.world.policy_parts()
    signer.policy = open_policy(*signer.parts[:3], pinned_root_sha256=signer.parts[3])
    assert keyholder.load_policy()["ok"] is True
    first, second = honest(signer), honest(signer)
    signer.world.now = ends - timedelta(seconds=1)
    assert keyholder.ask(*first)[0]["ok"] is True
    signer.world.now = ends
    refused, _ = keyholder.ask(*second)
    assert (refused["ok"], refused["code"]) == (False, "exception")
    assert keyholder.operations == 1


def test_key_under_another_name_has_no_new_quota(keyholder: Keyholder) -> None:
    signer = keyholder.signer
    assert keyholder.ask(*honest(signer))[0]["ok"] is True
    world = signer.world
    project: d.Project = world.documents()["projects/default"]  # type: ignore[assignment]
    world.keys["again"] = world.keys.pop("release").model_copy(update={"max_per_day": 1})
    rules = {
        n: r.model_copy(update={"key": "again"}) for n, r in project.signing_policies.items() if r.key == "release"
    }
    policies = {**project.signing_policies, **rules}
    world.with_documents(projects_default=project.model_copy(update={"signing_policies": policies}))
    signer.parts = world.policy_parts()
    signer.policy = open_policy(*signer.parts[:3], pinned_root_sha256=signer.parts[3])
    assert keyholder.load_policy()["ok"] is True
    refused, _ = keyholder.ask(*honest(signer))
    assert (refused["ok"], refused["code"]) == (False, "key-quota")
    assert keyholder.operations == 1
