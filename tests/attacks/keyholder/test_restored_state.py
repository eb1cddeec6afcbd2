# SPDX-License-Identifier: Apache-2.0
"""A keyholder whose state was taken back to a copy, behind a hostile gate: what the log says, it knows again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.policy.policy import open_policy
from signwright.policy.succession import policy_leaf
from signwright.statements.dsse import Envelope, statement_digest
from signwright.statements.models import Halt, Resume
from signwright.statements.writing import statement_payload
from signwright.transparency.intent import MAX_LEAF, PolicyLeaf
from tests.attacks.keyholder.test_front_survives import Served
from tests.attacks.keyholder.test_hostile_gate import CONTENT, artifact, honest
from tests.support import leaves
from tests.support.pki import default_pki
from tests.support.signing import MemoryLog, Message, SignerWorld
from tests.support.world import sign_ssh

FAR = (1 << 53) - 1


class Restored:
    """The keyholder's host: processes one after the other over one state, which can be copied and put back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signer = SignerWorld(default_pki().code_signing("p256"))
        self.first, self.first_parts = self.signer.policy, self.signer.parts
        self.served = Served(self.signer, folder)
        self.served.load_policy()

    def copy(self) -> None:
        with closing(sqlite3.connect(self.folder / "state.sqlite3")) as now:
            with closing(sqlite3.connect(self.folder / "copy.sqlite3")) as copy:
                now.backup(copy)

    def restart(self, *, restored: bool = False) -> None:
        """The process ends, and another one begins that nobody has started yet."""
        self.served.end()
        if restored:
            for ending in ("", "-wal", "-shm"):
                (self.folder / f"state.sqlite3{ending}").unlink(missing_ok=True)
            (self.folder / "copy.sqlite3").rename(self.folder / "state.sqlite3")
        self.served = Served(self.signer, self.folder)

    def again(self, *, restored: bool = True) -> None:
        """Another process, honestly logged and started."""
        self.restart(restored=restored)
        answer = self.served.read_and_start()
        assert answer["ok"], answer

    def second_policy(self, **times: Any) -> Any:
        """The keepers' next policy: carol may no longer approve. What opens it."""
        people = self.signer.world.documents()["people"]
        assert isinstance(people, d.People)
        self.signer.world.with_documents(
            people=d.People(people={n: p for n, p in people.people.items() if n != "carol"})
        )
        return self.signer.world.policy_parts(**times)

    def load(self, parts: Any) -> dict[str, Any]:
        """Logged and handed over; from here on orders are made under it."""
        answer = self.served.ask(*self.signer.policy_message(parts))
        if answer["ok"]:
            self.signer.loaded_policy(parts)
            self.signer.policy = self.signer.loaded
        return answer

    def orders(self, *people: str, request: Envelope | None = None, **changes: Any) -> str:
        """What comes of an order that these people approved: ``signed`` or the code of the refusal."""
        request = request or self.request()
        changes = {"approvals": self.signer.approved(request, people or ("alice", "bob")), **changes}
        before = self.served.operations
        answer = self.served.ask(*honest(self.signer, request=request, **changes))
        assert self.served.operations == before + bool(answer["ok"])
        return "signed" if answer["ok"] else str(answer["code"])

    def request(self) -> Envelope:
        return self.signer.world.request(files={"setup.exe": CONTENT}, artifacts=[artifact()])

    def keepers_say(self, said: Halt | Resume, name: str) -> Envelope:
        payload = statement_payload(said, [("policy-root", self.signer.parts[3])])
        return sign_ssh(payload, self.signer.world.keeper, name)

    def resume(self, *halts: str, version: int) -> Envelope:
        now = format_time(self.signer.world.now)
        return self.keepers_say(
            Resume(halts=halts, policy_version=version, reason="it was found", created=now), "resume"
        )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Restored]:
    found = Restored(tmp_path)
    try:
        yield found
    finally:
        found.served.end()


# ── what the copy had forgotten ──────────────────────────────────────────────────────────────────────────────────────


def test_policy_of_the_copy_no_longer_counts_when_the_log_has_a_newer_one(host: Restored) -> None:
    host.copy()
    parts = host.second_policy()
    assert host.load(parts)["ok"] is True
    host.again()
    host.signer.policy = host.first
    assert host.orders("alice", "carol") == "policy-behind"
    assert host.served.ask(*host.signer.policy_message(parts))["ok"] is True
    assert host.orders("alice", "carol") == "other-policy"
    host.signer.policy = host.signer.loaded
    assert host.orders() == "signed"


def test_key_operations_want_the_newer_policy_too(host: Restored) -> None:
    host.copy()
    assert host.load(host.second_policy())["ok"] is True
    host.again()
    refused = host.served.ask({"verb": "key-operation", "id": 1, "consistency": []}, [b"", b"", b""])
    assert refused["code"] == "policy-behind"


def test_reading_goes_on_where_it_ended_and_not_at_the_memory_of_the_log(host: Restored) -> None:
    """An order moves that memory over the leaf of a policy that nobody showed the keyholder."""
    new = open_policy(*(parts := host.second_policy())[:3], pinned_root_sha256=parts[3])
    host.signer.log.append(policy_leaf(host.first, new, now=host.signer.world.now).encode())
    assert host.orders() == "signed"
    host.copy()
    host.again()
    assert host.orders("alice", "carol") == "policy-behind"


def test_attempt_of_the_time_after_the_copy_is_used_up(host: Restored) -> None:
    request = host.request()
    host.copy()
    assert host.orders(request=request) == "signed"
    host.again()
    assert host.orders(request=request) == "wrong-attempt"
    assert host.orders(request=request, attempt=2) == "signed"


def test_intent_that_was_logged_and_never_ordered_counts(host: Restored) -> None:
    request = host.request()
    honest(host.signer, request=request, approvals=host.signer.approved(request))
    assert host.orders(request=request) == "signed", "it is younger than the start"
    other = host.request()
    honest(host.signer, request=other, approvals=host.signer.approved(other))
    host.again(restored=False)
    assert host.orders(request=other) == "wrong-attempt"
    assert host.orders(request=other, attempt=2) == "signed"


def test_intent_between_a_start_and_its_checkpoint_is_read_by_the_next_process(host: Restored) -> None:
    host.restart()
    request = host.request()
    messages = host.served.signer.start_messages(host.served.ask({"verb": "status", "id": 0}, []))
    message, parts = honest(host.signer, request=request, approvals=host.signer.approved(request))
    messages = host.signer.log.reading(messages[0][0]["first"], host.signer.log.note(host.signer.world.now))
    assert [host.served.ask(*one)["ok"] for one in messages] == [True, True]
    host.copy()
    assert host.served.ask(message, parts)["ok"] is True, "it was logged after this process had started"
    host.again()
    assert host.orders(request=request) == "wrong-attempt"


def test_use_of_the_key_is_counted_again(host: Restored) -> None:
    host.copy()
    assert [host.orders() for _ in range(3)] == ["signed"] * 3
    host.again()
    with closing(sqlite3.connect(host.folder / "state.sqlite3")) as database:
        rows = database.execute("SELECT name, count FROM used WHERE name LIKE 'key %'").fetchall()
    assert [count for _, count in rows] == [3]


def test_halt_of_the_log_halts_again(host: Restored) -> None:
    host.copy()
    halt = host.keepers_say(
        Halt(reason="a stolen laptop", nonce="00" * 16, created=format_time(host.signer.world.now)), "halt"
    )
    digest = statement_digest("halt", halt)
    assert host.served.ask({"verb": "halt", "id": 1}, [halt.encode()])["ok"] is True
    host.signer.log.append(leaves.halt(statement=digest).encode())
    host.again()
    assert host.served.ask({"verb": "status", "id": 1}, [])["halts"] == [digest]
    assert host.orders() == "halted"


def test_resume_leaf_alone_lifts_no_halt_and_the_statement_does(host: Restored) -> None:
    digest = "e" * 64
    host.signer.log.append(leaves.halt(statement=digest).encode())
    host.signer.log.append(leaves.resume(halts=(digest,), policy_version=1).encode())
    host.again(restored=False)
    assert host.load(host.second_policy())["ok"] is True
    assert host.orders() == "halted"
    resume = host.resume(digest, version=2)
    assert host.served.ask({"verb": "resume", "id": 1}, [resume.encode()])["ok"] is True
    assert host.orders() == "signed"


def test_resume_that_is_shown_before_the_halt_is_read_counts(host: Restored) -> None:
    """As an honest gate does after a start."""
    digest = "e" * 64
    host.copy()
    host.signer.log.append(leaves.halt(statement=digest).encode())
    assert host.load(parts := host.second_policy())["ok"] is True
    host.restart(restored=True)
    assert host.served.ask(*host.signer.policy_message(parts))["ok"] is True
    resume = host.resume(digest, version=2)
    assert host.served.ask({"verb": "resume", "id": 1}, [resume.encode()])["ok"] is True
    assert host.served.read_and_start()["ok"] is True
    assert host.orders() == "signed"


def test_freshness_that_is_older_than_one_in_the_log_is_refused(host: Restored) -> None:
    host.copy()
    host.signer.log.append(leaves.freshness(5).encode())
    host.again()
    assert host.orders() == "freshness-old"
    host.signer.freshness = host.signer.world.freshness(5, root_sha256=host.signer.parts[3])
    assert host.orders() == "signed"


def test_policy_that_waits_is_not_wanted_before_its_time(host: Restored) -> None:
    world = host.signer.world
    waits = leaves.policy(2, delay_hours=24, weakening=("people",), time=format_time(world.now))
    host.signer.log.append(waits.encode())
    host.again(restored=False)
    assert host.orders() == "signed"
    world.now += timedelta(hours=24)
    host.signer.freshness = world.freshness(2, root_sha256=host.signer.parts[3])
    assert host.orders() == "signed", "clocks differ by minutes"
    world.now += timedelta(minutes=6)
    assert host.orders() == "policy-behind"


def test_policy_leaf_of_a_time_to_come_brings_no_policy_into_force(host: Restored) -> None:
    """Its delay, counted from there by whoever reads it later, would end long after the policy counts."""
    root, index, documents, pinned = host.second_policy()
    new, world = open_policy(root, index, documents, pinned_root_sha256=pinned), host.signer.world
    leaf = policy_leaf(host.first, new, now=world.now + timedelta(minutes=6)).encode()
    at = host.signer.log.append(leaf)
    parts = [root.encode(), index.encode(), *documents.values(), leaf, host.signer.proof(at)]
    refused = host.served.ask({"verb": "policy", "id": 1, "documents": list(documents)}, parts)
    assert refused["code"] == "wrong-policy-leaf"


# ── leaves that somebody made up: they stop, they allow nothing, and the keepers can go on ───────────────────────────


def test_policy_version_that_nobody_signed_stops_until_the_keepers_sign_a_newer_policy(host: Restored) -> None:
    host.signer.log.append(leaves.policy(FAR, delay_hours=FAR).encode())
    host.signer.log.append(leaves.policy(FAR - 1).encode())
    host.again(restored=False)
    assert host.orders() == "policy-behind"
    assert host.load(host.second_policy())["ok"] is True
    assert host.orders() == "policy-behind", "that one is older than the leaf"
    later = host.second_policy(created=host.signer.world.now + timedelta(minutes=1))
    host.signer.world.now += timedelta(minutes=1)
    answer = host.load(later)
    assert answer["ok"] is True, answer
    assert host.orders() == "signed"


def test_halt_that_nobody_signed_stops_until_the_keepers_end_it(host: Restored) -> None:
    host.signer.log.append(leaves.halt(policy_version=FAR).encode())
    host.again(restored=False)
    assert host.orders() == "halted"
    assert host.served.ask({"verb": "resume", "id": 1}, [host.resume("e" * 64, version=2).encode()])["ok"] is True
    assert host.load(host.second_policy())["ok"] is True
    assert host.orders() == "signed"


def test_freshness_number_that_nobody_signed_stops_until_somebody_renews(host: Restored) -> None:
    host.signer.log.append(leaves.freshness(FAR).encode())
    host.again(restored=False)
    assert host.orders() == "freshness-old"
    world = host.signer.world
    world.now += timedelta(minutes=1)
    host.signer.freshness = world.freshness(2, root_sha256=host.signer.parts[3], created=format_time(world.now))
    assert host.orders() == "signed"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * MAX_LEAF,
        b'{"type":"intent"}',
        b'{"type":"policy","v":1}',
        leaves.intent().encode() + b" ",
        leaves.intent(signing_time="9999-12-31T23:59:59Z", wave=FAR).encode(),
        PolicyLeaf.model_construct(**leaves.policy().model_dump() | {"policy_version": 1 << 70}).encode(),
        b'{"a":' * 400 + b'"type":"halt"',
    ],
    ids=repr,
)
def test_leaf_that_makes_no_sense_is_read_over(host: Restored, content: bytes) -> None:
    host.signer.log.append(content)
    host.again(restored=False)
    assert host.orders() == "signed"


# ── a gate that does not show the log ────────────────────────────────────────────────────────────────────────────────


def reads(host: Restored, *messages: Message) -> str:
    """What the last of them is answered with."""
    answer: dict[str, Any] = {}
    for message in messages:
        answer = host.served.ask(*message)
    request = host.request()
    refused = host.served.ask(*honest(host.signer, request=request, approvals=host.signer.approved(request)))
    assert refused["ok"] is answer["ok"], (answer, refused)
    return "ok" if answer["ok"] else str(answer["code"])


def edited(message: Message, parts: list[bytes]) -> Message:
    return message[0], parts


@pytest.fixture
def honestly(host: Restored) -> list[Message]:
    """What an honest gate would say to a new process, after some leaves more."""
    host.copy()
    assert host.load(host.second_policy())["ok"] is True
    host.restart(restored=True)
    host.signer.policy = host.first
    return host.signer.start_messages(host.served.ask({"verb": "status", "id": 0}, []))


def test_leaf_that_was_altered_starts_nothing(host: Restored, honestly: list[Message]) -> None:
    reading, start = honestly
    policy = next(at for at, leaf in enumerate(reading[1]) if b'"type":"policy"' in leaf)
    parts = [*reading[1]]
    parts[policy] = leaves.BEAT.encode()
    assert reads(host, edited(reading, parts), start) == "wrong-leaves"


def test_leaf_that_was_left_out_starts_nothing(host: Restored, honestly: list[Message]) -> None:
    reading, start = honestly
    policy = next(at for at, leaf in enumerate(reading[1]) if b'"type":"policy"' in leaf)
    assert reads(host, edited(reading, reading[1][:policy] + reading[1][policy + 1 :]), start) == "wrong-leaves"


def test_leaves_in_another_order_start_nothing(host: Restored, honestly: list[Message]) -> None:
    reading, start = honestly
    assert reads(host, edited(reading, reading[1][::-1]), start) == "wrong-leaves"


def test_run_that_ends_early_starts_nothing(host: Restored, honestly: list[Message]) -> None:
    reading, start = honestly
    assert reads(host, edited(reading, reading[1][:-1]), start) == "wrong-leaves"


def test_start_without_reading_is_refused(host: Restored, honestly: list[Message]) -> None:
    assert reads(host, honestly[1]) == "wrong-leaves"


@pytest.mark.parametrize("by", [-1, 1, FAR, None, True, "0"], ids=str)
def test_leaves_that_do_not_go_on_where_the_last_ended_are_refused(
    host: Restored, honestly: list[Message], by: object
) -> None:
    (message, parts), start = honestly
    first = message["first"] + by if type(by) is int else by
    refused = host.served.ask({**message, "first": first}, parts)
    assert (refused["ok"], refused["code"]) == (False, "wrong-leaves")
    assert reads(host, start) == "wrong-leaves"


def test_leaves_that_come_twice_are_refused_and_the_rest_goes_on(host: Restored, honestly: list[Message]) -> None:
    (message, parts), start = honestly
    assert host.served.ask({**message}, parts[:1])["ok"] is True
    assert host.served.ask({**message}, parts[:1])["code"] == "wrong-leaves"
    rest = {**message, "first": message["first"] + 1}
    assert host.served.ask(rest, parts[1:])["ok"] is True
    assert host.served.ask(*start)["ok"] is True
    assert host.orders("alice", "carol") == "policy-behind"


def test_leaf_beyond_4_kib_is_refused_with_all_that_come_with_it(host: Restored, honestly: list[Message]) -> None:
    reading, _ = honestly
    refused = host.served.ask(*edited(reading, [*reading[1], b"x" * (MAX_LEAF + 1)]))
    assert (refused["ok"], refused["code"]) == (False, "leaf-too-large")
    assert host.served.ask({"verb": "status", "id": 1}, [])["read"] == reading[0]["first"]


def test_checkpoint_without_its_quorum_starts_nothing(host: Restored, honestly: list[Message]) -> None:
    reading, (start, _) = honestly
    note = host.signer.log.note(host.signer.world.now, witnesses=[])
    assert reads(host, reading, (start, [note])) == "no-quorum"


def test_checkpoint_of_another_time_starts_nothing(host: Restored, honestly: list[Message]) -> None:
    reading, (start, _) = honestly
    note = host.signer.log.note(host.signer.world.now - timedelta(minutes=6))
    assert reads(host, reading, (start, [note])) == "wrong-time"


def test_older_checkpoint_starts_nothing(host: Restored, honestly: list[Message]) -> None:
    reading, (start, _) = honestly
    older = host.signer.log.note(host.signer.world.now)
    host.signer.log.append(leaves.BEAT.encode())
    more = ({**reading[0], "first": len(host.signer.log.leaves) - 1}, [leaves.BEAT.encode()])
    assert reads(host, reading, more, (start, [older])) == "wrong-leaves"


def forked(host: Restored, size: int, *others: bytes) -> list[Message]:
    """Another log from ``size`` on, with the start of the keyholder and the witnesses' cosignatures."""
    log = host.signer.log
    fork = MemoryLog(host.signer.world)
    fork.append(*log.leaves[:size], *others)
    host.signer.log = fork
    status = host.served.ask({"verb": "status", "id": 0}, [])
    return host.signer.start_messages(status)


def test_log_that_was_forked_after_the_last_reading_starts_nothing(host: Restored) -> None:
    """The memory of the log is further than the last reading: the witnesses, who are hostile here, are caught."""
    read = len(host.signer.log.leaves)
    assert host.orders() == "signed"
    host.restart()
    assert reads(host, *forked(host, read, leaves.BEAT.encode(), leaves.BEAT.encode())) == "log-fork"


def test_log_that_was_taken_back_starts_nothing(host: Restored) -> None:
    read = len(host.signer.log.leaves)
    assert [host.orders() for _ in range(2)] == ["signed"] * 2
    host.restart()
    assert reads(host, *forked(host, read)) == "log-rollback"


def test_nothing_is_learned_from_leaves_of_a_start_that_was_refused(host: Restored) -> None:
    host.restart()
    reading, start = host.signer.start_messages(host.served.ask({"verb": "status", "id": 0}, []))
    lies = [leaves.halt().encode(), *reading[1]]
    assert reads(host, edited(reading, lies), start) == "wrong-leaves"
    host.again(restored=False)
    assert host.orders() == "signed"
