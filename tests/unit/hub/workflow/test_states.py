# SPDX-License-Identifier: Apache-2.0
"""Whatever happens in whatever order: no request is completed that skipped a step, and none leaves its end."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from signwright.errors import ConflictError
from signwright.hub.adapters.database.keeping import add_keepers_word
from signwright.hub.standing import opened_word
from signwright.hub.workflow import examine, sweep
from signwright.hub.workflow.approve import approve
from signwright.hub.workflow.cancel import cancel
from signwright.hub.workflow.ports import RequestRecord, Upload
from signwright.hub.workflow.results import claim, open_result, store_result
from signwright.hub.workflow.states import FINAL, MOVES, OPEN, State, check_move
from signwright.hub.workflow.submit import Quota, submit
from signwright.hub.workflow.upload import finish_upload
from signwright.model.framing import encode_frame
from signwright.policy.decide import decide
from signwright.policy.facts import gather
from signwright.statements.dsse import parse_envelope
from tests.support.records import database
from tests.support.world import World

CONTENT = b"artifact"
LEASE = 60


def test_completed_is_reached_from_signing_alone_and_signing_from_authorized_alone():
    assert [s for s in MOVES if State.COMPLETED in MOVES[s]] == [State.SIGNING]
    assert [s for s in MOVES if State.SIGNING in MOVES[s]] == [State.AUTHORIZED]
    assert not any(MOVES[s] for s in FINAL)


@pytest.mark.parametrize("old", State)
@pytest.mark.parametrize("new", State)
def test_a_move_is_refused_unless_the_table_lists_it(old, new):
    if new in MOVES[old]:
        check_move(old, new)
        return
    with pytest.raises(ConflictError):
        check_move(old, new)


def test_every_state_can_come_to_an_end():
    reach = set(FINAL)
    while more := {s for s in OPEN - reach if MOVES[s] & reach}:
        reach |= more
    assert reach == set(State)


class Hub(RuleBasedStateMachine):
    """One release request, one policy that changes, people, a scanner, couriers, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.db = self.stack.enter_context(database(Path(self.stack.enter_context(tempfile.TemporaryDirectory()))))
        self.world = World()
        self.policy = self.world.policy()
        self.now = self.world.now
        self.envelope = self.world.request("release", files={"a.exe": CONTENT})
        self.uploaded = False
        self.fences: list[int] = []
        self.fresh = self.world.freshness()
        word, _ = opened_word(self.policy, "freshness", self.fresh.encode(), now=self.now)
        self.db.do(partial(add_keepers_word, word=word, ends=(), who="keeper", now=self.now))
        facts = gather(self.policy, self.envelope, approvals=[], evidence=[self.fresh], now=self.now)
        quota = Quota(10, 1 << 30)
        work = partial(
            submit,
            policy=self.policy,
            facts=facts,
            envelope=self.envelope,
            caller=facts.submitter or "",
            idempotency_key=None,
            quota=quota,
        )
        self.id = self.db.do(work).id
        self.last = State.SUBMITTED

    def teardown(self) -> None:
        self.stack.close()

    def record(self) -> RequestRecord:
        found = self.db.do(lambda r: r.find(self.id))
        assert found is not None
        return found

    def attempt(self, work: Any) -> Any:
        try:
            return self.db.do(work)
        except ConflictError:
            return None

    @rule()
    def upload(self) -> None:
        record = self.record()
        upload = Upload(record.submitter, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "p")
        self.db.do(partial(finish_upload, policy=self.policy, upload=upload, now=self.now))
        self.uploaded = True

    @rule(verdict=st.sampled_from(["clean", "clean", "infected"]))
    def scan(self, verdict: str) -> None:
        seconds = int(self.now.timestamp())
        claims = self.db.do(lambda r: r.jobs.claim("examine", owner="t", now=seconds, lease=LEASE, most=1))
        for job in claims:
            envelope = self.world.scan(CONTENT, verdict).encode()
            store = partial(examine.store_verdicts, policy=self.policy, claim=job, verdicts=[envelope], now=self.now)
            self.db.do(store)

    @rule(person=st.sampled_from(["alice", "bob", "carol"]), no=st.integers(0, 9))
    def word(self, person: str, no: int) -> None:
        decision = "deny" if no == 0 else "approve"
        envelope = self.world.approval(self.envelope, person, policy=self.policy, decision=decision)
        self.attempt(lambda r: approve(r, self.policy, r.find(self.id), envelope=envelope, now=self.now))

    @rule()
    def people_agree(self) -> None:
        for person in ("alice", "bob"):
            self.word(person, 1)

    @rule()
    def poll(self) -> None:
        allowed = self.allowed()
        taken = self.db.do(lambda r: claim(r, owner="courier", now=self.now, lease=LEASE, most=4))
        self.fences += [fence for _, fence in taken]
        assert len(self.fences) == len(set(self.fences))
        assert not taken or self.uploaded
        assert not taken or allowed

    def allowed(self) -> bool:
        def work(records: Any) -> bool:
            words = {k: [parse_envelope(c) for c in records.words(k, self.id)] for k in ("approval", "evidence")}
            evidence = [*words["evidence"], self.fresh]
            facts = gather(self.policy, self.envelope, approvals=words["approval"], evidence=evidence, now=self.now)
            # Time alone may have passed since the decision; the signer decides again.
            return decide(self.policy, facts).outcome == "allow" or self.now > self.world.now

        return bool(self.db.do(work))

    @precondition(lambda self: self.fences)
    @rule(outcome=st.sampled_from(["signed", "denied", "waiting", "failed"]), which=st.integers(0, 9))
    def result(self, outcome: str, which: int) -> None:
        rows = [{"bundle": 0, "envelopes": [1]}] if outcome == "signed" else []
        content = encode_frame({"type": "result", "outcome": outcome, "artifacts": rows}, [b"r", b"e"] if rows else [])
        result, _ = open_result(content)
        fence = self.fences[which % len(self.fences)]
        before = self.record().state
        done = self.attempt(
            lambda r: store_result(
                r, self.policy, r.find(self.id), result=result, content=content, fence=fence, who="c", now=self.now
            )
        )
        if done is not None and before is State.SIGNING:
            assert fence == self.fences[-1]

    @rule()
    def cancel(self) -> None:
        if self.record().state in {State.UPLOADING, State.AWAITING_APPROVAL}:
            self.attempt(lambda r: cancel(r, r.find(self.id), who="x", now=self.now))

    @rule()
    def new_policy(self) -> None:
        self.policy = self.world.policy()
        again = partial(sweep.decide_again, policy=self.policy, request_ids=[self.id], now=self.now)
        self.db.do(again)

    @rule(minutes=st.sampled_from([1, 5, 200]))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        self.db.now = int(self.now.timestamp())
        self.db.do(lambda r: sweep.return_leases(r, now=self.now))
        self.db.do(lambda r: sweep.expire(r, self.policy, now=self.now))
        self.db.do(lambda r: sweep.wake_lost(r, now=self.now))

    @rule(minutes=st.sampled_from([1, 5]))
    def time_passes_before_the_sweeper_comes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        self.db.now = int(self.now.timestamp())

    @invariant()
    def no_step_is_skipped(self) -> None:
        record = self.record()
        path = [State(str(row["state"])) for row in record.history]
        assert path[0] is State.SUBMITTED
        assert path[-1] is record.state
        for old, new in pairwise(path):
            assert new in MOVES[old]
        assert self.last not in FINAL or record.state is self.last
        self.last = record.state
        has_result = self.db.do(lambda r: r.result(self.id)) is not None
        assert has_result == (record.state is State.COMPLETED)
        if record.state is State.COMPLETED:
            assert {State.UPLOADING, State.AUTHORIZED, State.SIGNING} <= set(path)
            assert self.uploaded

    @invariant()
    def every_state_that_needs_a_job_has_one(self) -> None:
        assert self.db.do(lambda r: r.without_job()) == []


def test_request_that_nothing_happens_to_is_completed():
    hub = Hub()
    try:
        scan, answer = partial(hub.scan, "clean"), partial(hub.result, "signed", 0)
        for step in (hub.upload, scan, hub.people_agree, hub.poll, answer):
            step()
            hub.no_step_is_skipped()
            hub.every_state_that_needs_a_job_has_one()
        assert hub.record().state is State.COMPLETED
    finally:
        hub.teardown()


def test_poll_that_finds_an_ended_lease_before_the_sweeper_does_loses_nothing():
    hub = Hub()
    try:
        for step in (hub.upload, partial(hub.scan, "clean"), hub.people_agree, hub.poll):
            step()
        hub.time_passes_before_the_sweeper_comes(5)
        for _ in range(2):
            hub.poll()
            hub.no_step_is_skipped()
            hub.every_state_that_needs_a_job_has_one()
        assert hub.record().state is State.SIGNING
        assert len(hub.fences) == 2
        hub.result("signed", 1)
        assert hub.record().state is State.COMPLETED
    finally:
        hub.teardown()


Hub.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestHub = Hub.TestCase
