# SPDX-License-Identifier: Apache-2.0
"""The decision: each rule by itself, and that no fact which is taken away ever helps."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import DeniedError, MalformedError, VerificationError
from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.policy.decide import Decision, decide
from signwright.policy.facts import Counters, Facts, gather
from signwright.policy.intent import intent_leaf, requested_operations
from signwright.policy.policy import open_policy
from signwright.statements.dsse import Envelope
from signwright.statements.models import RequestedArtifact
from tests.support.world import NOW, World

ORDER = {"deny": 0, "await": 1, "allow": 2}


class Case:
    """A request for a release with everything it needs, under a policy that ``changes`` alters."""

    def __init__(self, signing_policy: str = "release", *, organisation: Any = None, **changes: Any) -> None:
        self.world = World()
        documents = self.world.documents()
        project = documents["projects/default"]
        assert isinstance(project, d.Project)
        rule = project.signing_policies[signing_policy].model_copy(update=changes)
        rules = {**project.signing_policies, signing_policy: rule}
        self.world.overrides["projects/default"] = project.model_copy(update={"signing_policies": rules})
        if organisation is not None:
            self.world.overrides["organisation"] = organisation(documents["organisation"])
        self.policy = self.world.policy()
        self.request = self.world.request(signing_policy)
        self.approvals = [self.word(name) for name in ("alice", "bob")]
        self.scans = [self.world.scan(b"artifact")]

    def word(self, person: str, **changes: Any):
        return self.world.approval(self.request, person, policy=self.policy, **changes)

    def facts(self, *, hours: float = 0, counters: Counters | None = None) -> Facts:
        now = NOW + timedelta(hours=hours)
        fresh = [self.fresh(now)] if self.is_fresh else []
        found = gather(self.policy, self.request, approvals=self.approvals, evidence=[*self.scans, *fresh], now=now)
        return replace(found, counters=counters or Counters())

    #: Whether somebody just said that nothing was revoked.
    is_fresh = True

    def fresh(self, now: datetime, **changes: Any) -> Envelope:
        times = {"created": format_time(now), "expires": format_time(now + timedelta(hours=24))}
        return self.world.freshness(root_sha256=self.policy.root_sha256, **(times | changes))

    def decide(self, **how: Any) -> Decision:
        return decide(self.policy, self.facts(**how))

    def rules(self, **how: Any) -> set[str]:
        return {reason.rule for reason in self.decide(**how).reasons}


def with_submitter(person: str, **changes: Any) -> Case:
    """The release credential belongs to ``person``."""
    case = Case(**changes)
    documents = case.world.documents()
    credentials = documents["credentials"]
    assert isinstance(credentials, d.Credentials)
    rows = {k: c.model_copy(update={"person": person}) for k, c in credentials.credentials.items()}
    case.world.overrides["credentials"] = d.Credentials(credentials=rows)
    case.policy = case.world.policy()
    case.approvals = [case.word(name) for name in ("alice", "bob")]
    return case


def test_a_complete_request_is_allowed():
    assert Case().decide() == Decision("allow", ())


def test_a_signing_policy_that_does_not_exist_denies():
    case = Case()
    case.request = case.world.request("release", project="nothing")
    assert case.decide().outcome == "deny"


def test_one_of_two_people_is_waited_for():
    case = Case()
    case.approvals.pop()
    assert case.rules() == {"approvals"}
    assert case.decide().outcome == "await"


def test_one_person_twice_counts_once():
    case = Case()
    case.approvals = [case.word("alice"), case.word("alice")]
    assert case.rules() == {"approvals"}


def test_the_submitter_does_not_count_as_approver():
    assert with_submitter("alice").rules() == {"approvals"}
    assert with_submitter("carol").rules() == set()


def test_k_of_n_counts_groups():
    groups = d.Approvals(required=2, groups={"qa": 1})
    case = Case(approvals=groups)
    assert case.rules() == {"approvals"}
    case.approvals.append(case.word("carol"))
    assert case.rules() == set()


def test_only_eligible_groups_count():
    case = Case()
    case.world.people["dave"] = Ed25519PrivateKey.generate()
    documents = case.world.documents()
    people = documents["people"]
    assert isinstance(people, d.People)
    rows = dict(people.people)
    rows["dave"] = rows["dave"].model_copy(update={"groups": ()})
    case.world.overrides["people"] = d.People(people=rows)
    case.policy = case.world.policy()
    case.approvals = [case.word("alice"), case.word("dave")]
    assert case.rules() == {"approvals"}


@pytest.mark.parametrize(
    "changes",
    [
        {"created": format_time(NOW - timedelta(hours=73))},
        {"created": format_time(NOW + timedelta(minutes=6))},
        {"expires": format_time(NOW)},
        {"policy_sha256": "0" * 64},
        {"project": "other"},
        {"signing_policy": "test"},
        {"artifacts_rehashed": False},
        {"decision": "release"},
    ],
    ids=str,
)
def test_an_approval_that_is_not_about_this_now_does_not_count(changes):
    case = Case()
    case.approvals[1] = case.word("bob", **changes)
    assert case.rules() == {"approvals"}


def test_a_persons_no_denies_whatever_others_say():
    case = Case()
    case.approvals.append(case.word("carol", decision="deny", comment="not today"))
    assert case.rules() == {"rejected"}
    assert "not today" in str(case.decide().reasons[0])


def test_an_approval_by_a_strangers_key_is_no_fact():
    case = Case()
    case.approvals[1] = case.word("bob", key=Ed25519PrivateKey.generate())
    assert case.rules() == {"approvals"}
    assert case.facts().ignored


def test_a_held_request_waits_for_the_hold_group():
    case = Case(hold="qa")
    assert case.rules() == {"hold"}
    case.approvals.append(case.word("alice", decision="release"))
    assert case.rules() == {"hold"}
    case.approvals.append(case.word("carol", decision="release"))
    assert case.rules() == set()


@pytest.mark.parametrize(("verdict", "outcome"), [("infected", "deny"), ("unscannable", "deny")])
def test_a_bad_verdict_denies_even_beside_a_clean_one(verdict, outcome):
    case = Case()
    case.scans.append(case.world.scan(b"artifact", verdict))
    assert case.decide().outcome == outcome


def test_an_old_missing_or_forged_verdict_is_waited_for():
    case = Case()
    case.scans = [case.world.scan(b"artifact", created=format_time(NOW - timedelta(hours=24)))]
    assert case.rules() == {"scan"}
    case.scans = [case.world.scan(b"artifact", key=Ed25519PrivateKey.generate())]
    assert case.rules() == {"scan"}
    case.scans = [case.world.scan(b"another")]
    assert case.rules() == {"scan"}


def test_every_file_of_a_request_needs_its_own_verdict():
    case = Case()
    case.request = case.world.request("release", files={"a.exe": b"artifact", "b.exe": b"second"})
    case.approvals = [case.word(name) for name in ("alice", "bob")]
    assert case.rules() == {"scan"}
    case.scans.append(case.world.scan(b"second"))
    assert case.rules() == set()


def test_quotas_of_policy_and_key_are_limits():
    case = Case(max_per_day=10)
    assert case.rules(counters=Counters(signing_policy=9)) == set()
    assert case.rules(counters=Counters(signing_policy=10)) == {"policy-quota"}
    case = Case()
    key = case.world.default_key("release").model_copy(update={"max_per_day": 1})
    case.world.keys["release"] = key
    case.policy = case.world.policy()
    case.approvals = [case.word(name) for name in ("alice", "bob")]
    assert case.rules(counters=Counters(key=1)) == {"key-quota"}


@pytest.mark.parametrize(
    ("rule", "value", "allowed"),
    [
        (d.OptionRule(values=("a", "b")), "a", True),
        (d.OptionRule(values=("a", "b")), "c", False),
        (d.OptionRule(values=(1,)), True, False),
        (d.OptionRule(values=(True,)), 1, False),
        (d.OptionRule(), "a", False),
        (d.OptionRule(any=True), "anything", True),
        (None, "a", False),
    ],
)
def test_options_are_those_that_the_policy_lists(rule, value, allowed):
    case = Case(options={"description": rule} if rule else {})
    artifact = RequestedArtifact(
        size=8, format="pe", options={"description": value}, operations=(case.world.operation(),)
    )
    case.request = case.world.request("release", artifacts=[artifact])
    case.approvals = [case.word(name) for name in ("alice", "bob")]
    assert case.rules() == (set() if allowed else {"option"})


def test_requests_and_policies_expire():
    case = Case()
    assert case.rules(hours=12) >= {"request-expired"}
    assert case.rules(hours=24 * 31) >= {"policy-expired", "request-expired"}
    case.request = case.world.request("release", created=format_time(NOW + timedelta(minutes=10)))
    assert "request-time" in case.rules()


def test_a_policys_own_limit_on_age_is_shorter_than_the_requests():
    case = Case(max_request_age_hours=1)
    assert "request-expired" in case.rules(hours=1)


def test_test_and_release_credentials_are_different_worlds():
    case = Case()
    case.request = case.world.request("release", key=case.world.test_credential)
    case.approvals = [case.word(name) for name in ("alice", "bob")]
    assert case.rules() == {"submitter", "submitter-kind"}
    case.request = case.world.request("release", key=Ed25519PrivateKey.generate())
    assert "submitter" in case.rules()


def test_a_raw_operation_on_a_cms_key_denies():
    case = Case()
    artifact = RequestedArtifact(size=8, format="pe", operations=(case.world.operation(template="raw"),))
    case.request = case.world.request("release", artifacts=[artifact])
    assert "key-family" in case.rules()
    artifact = RequestedArtifact(size=8, format="pe", operations=(case.world.operation(template="nothing"),))
    case.request = case.world.request("release", artifacts=[artifact])
    assert "template" in case.rules()


def test_a_release_in_digest_mode_needs_it_listed_and_an_exception():
    case = Case()
    case.request = case.world.request("release", mode="digest")
    assert "mode" in case.rules()


def test_an_exception_that_ended_denies():
    def shorter(organisation):
        rows = [
            e.model_copy(update={"expires": format_time(NOW + timedelta(hours=1))}) for e in organisation.exceptions
        ]
        return organisation.model_copy(update={"exceptions": tuple(rows)})

    case = Case(organisation=shorter)
    assert case.rules() == set()
    assert case.rules(hours=1) == {"exception"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"approvals": d.Approvals(required=1)}, "1 approvals; the organisation wants 2"),
        ({"approvals": d.Approvals(required=2, exclude_submitter=False)}, "the submitter may not approve"),
        ({"approvals": d.Approvals(required=2, max_age_hours=100)}, "approvals hold 100 h"),
        ({"retention_days": 1}, "kept 1 days"),
        ({"scan": d.ScanRule(max_age_hours=48)}, "scans hold 48 h"),
        ({"scan": d.ScanRule(required=False)}, "'no-scan'"),
        ({"timestamp": "none"}, "'no-timestamp'"),
        ({"modes": ("digest",), "scan": d.ScanRule(required=False)}, "'digest-mode'"),
        ({"modes": ("digest",)}, "digest mode cannot be scanned"),
        ({"modes": ("artifact", "digest")}, "signed content of another purpose"),
        ({"key": "test"}, "a release policy with the test key"),
        ({"key": "absent"}, "is not in the policy"),
        ({"artifact_configuration": "absent"}, "is not in the project"),
        ({"submitters": ("swk_" + "a" * 20,)}, "is not among the credentials"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_no_project_may_go_below_is_refused_when_the_policy_is_opened(changes, problem):
    with pytest.raises(DeniedError) as caught:
        Case(**changes)
    assert problem in caught.value.message


def test_a_policy_with_a_document_of_another_digest_is_not_opened():
    root, index, documents, pin = World().policy_parts()
    with pytest.raises(VerificationError):
        open_policy(root, index, documents | {"people": documents["people"] + b" "}, pinned_root_sha256=pin)
    with pytest.raises(MalformedError):
        open_policy(root, index, {k: v for k, v in documents.items() if k != "keys"}, pinned_root_sha256=pin)
    with pytest.raises(VerificationError):
        open_policy(root, index, documents, pinned_root_sha256="0" * 64)


def test_the_intent_leaf_does_not_depend_on_the_order_of_facts():
    case = Case()

    def leaf():
        facts = case.facts()
        operations = requested_operations(facts.request.predicate)
        how: dict[str, Any] = {"wave": 0, "attempt": 1, "profile": 0, "sandbox": "none", "signing_time": NOW}
        return intent_leaf(case.policy, facts, operations=operations, **how)

    first = leaf()
    case.approvals.reverse()
    case.scans = [case.scans[0], case.scans[0]]
    assert leaf() == first
    case.approvals.append(case.word("carol"))
    assert leaf() != first


SHARED = Case(hold="qa")
SUPPORTING = [
    *(SHARED.word(name) for name in ("alice", "bob", "carol")),
    SHARED.word("carol", decision="release"),
]
ADVERSE = [SHARED.word("bob", decision="deny")]
CLEAN, INFECTED = SHARED.world.scan(b"artifact"), SHARED.world.scan(b"artifact", "infected")


def outcome(approvals, evidence, *, signed=True, hours=0.0, fresh=True) -> int:
    now = NOW + timedelta(hours=hours)
    evidence = [*evidence, *([SHARED.fresh(now)] if fresh else [])]
    facts = gather(SHARED.policy, SHARED.request, approvals=approvals, evidence=evidence, now=now)
    if not signed:
        facts = replace(facts, submitter=None)
    return ORDER[decide(SHARED.policy, facts).outcome]


@given(
    st.lists(st.sampled_from(SUPPORTING), max_size=5),
    st.lists(st.sampled_from([CLEAN]), max_size=1),
    st.integers(0, 5),
    st.booleans(),
)
def test_taking_a_supporting_fact_away_never_helps(approvals, evidence, which, signed):
    whole = outcome(approvals, evidence, signed=signed)
    fewer = [word for at, word in enumerate(approvals) if at != which]
    assert outcome(fewer, evidence, signed=signed) <= whole
    assert outcome(approvals, [], signed=signed) <= whole
    assert outcome(approvals, evidence, signed=False) <= whole
    assert outcome(approvals, evidence, signed=signed, fresh=False) <= whole


@given(
    st.lists(st.sampled_from(SUPPORTING), max_size=5),
    st.lists(st.sampled_from([CLEAN]), max_size=1),
    st.sampled_from([0.0, 11.0, 13.0, 24.0 * 31]),
)
def test_an_adverse_fact_never_helps(approvals, evidence, hours):
    whole = outcome(approvals, evidence, hours=hours)
    assert outcome([*approvals, *ADVERSE], evidence, hours=hours) <= min(whole, 0)
    assert outcome(approvals, [*evidence, INFECTED], hours=hours) <= min(whole, 0)


def test_exactly_the_complete_sets_are_allowed():
    for kept in product((False, True), repeat=len(SUPPORTING)):
        words = [word for word, keep in zip(SUPPORTING, kept, strict=True) if keep]
        enough = sum(kept[:3]) >= 2 and kept[3]
        assert (outcome(words, [CLEAN]) == ORDER["allow"]) is enough


def test_release_waits_for_a_freshness_statement_and_a_test_does_not() -> None:
    case = Case()
    case.is_fresh = False
    assert (case.decide().outcome, case.rules()) == ("await", {"freshness"})
    automatic = Case("test")
    automatic.is_fresh = False
    assert "freshness" not in automatic.rules()


@pytest.mark.parametrize(
    ("hours", "changes", "rules"),
    [
        (23.9, {}, set()),
        (24.0, {}, {"freshness"}),
        (1.0, {"expires": format_time(NOW + timedelta(minutes=59))}, {"freshness"}),
        (0.0, {"created": format_time(NOW + timedelta(minutes=6))}, {"freshness"}),
        (0.0, {"minimum_policy_version": 2}, {"stale-policy"}),
        (0.0, {"minimum_policy_version": 1}, set()),
    ],
)
def test_freshness_counts_for_as_long_as_the_organisation_says(
    hours: float, changes: dict[str, Any], rules: set[str]
) -> None:
    case = Case()
    times = {"created": format_time(NOW), "expires": format_time(NOW + timedelta(hours=48))}
    said = case.world.freshness(root_sha256=case.policy.root_sha256, **(times | changes))
    now = NOW + timedelta(hours=hours)
    words = [case.word(name, expires=format_time(NOW + timedelta(hours=48))) for name in ("alice", "bob")]
    request = case.request
    facts = gather(case.policy, request, approvals=words, evidence=[*case.scans, said], now=now)
    found = {reason.rule for reason in decide(case.policy, facts).reasons}
    assert found & {"freshness", "stale-policy"} == rules


def test_what_is_revoked_counts_as_if_it_were_not_there() -> None:
    case = Case()
    (submitter,) = [key for key, one in case.policy.credentials.credentials.items() if one.kind == "release"]
    revocations = ({"revoked_people": ("bob",)}, "approvals"), ({"revoked_credentials": (submitter,)}, "submitter")
    for revoked, rule in revocations:
        said = case.fresh(NOW, **revoked)
        facts = gather(case.policy, case.request, approvals=case.approvals, evidence=[*case.scans, said], now=NOW)
        assert rule in {reason.rule for reason in decide(case.policy, facts).reasons}


def test_freshness_of_another_root_or_by_a_stranger_is_no_fact() -> None:
    case = Case()
    for said in (
        case.world.freshness(root_sha256="00" * 32),
        case.world.freshness(root_sha256=case.policy.root_sha256, key=Ed25519PrivateKey.generate()),
    ):
        facts = gather(case.policy, case.request, approvals=case.approvals, evidence=[*case.scans, said], now=NOW)
        assert facts.freshness is None
        assert facts.ignored


def told(case: Case, **how: Any) -> str:
    """What the rule on approvals found."""
    (reason,) = [one for one in case.decide(**how).reasons if one.rule == "approvals"]
    return reason.found


def test_approval_that_no_longer_counts_is_named_once_with_its_reason():
    case = Case()
    old = case.word(
        "bob", created=format_time(NOW - timedelta(hours=72)), expires=format_time(NOW + timedelta(hours=1))
    )
    case.approvals = [case.word("alice"), old, old]
    assert told(case) == "1 of 2 approvals (alice); the approval of bob is too old"
    case.approvals = [case.word("alice"), case.word("bob", expires=format_time(NOW + timedelta(seconds=1)))]
    assert told(case, hours=1) == "1 of 2 approvals (alice); the approval of bob is too old"
    case.approvals = [case.word("alice"), case.word("bob", policy_sha256="00" * 32)]
    assert told(case) == "1 of 2 approvals (alice); the approval of bob was given under another policy"


def test_word_that_never_was_an_approval_or_was_given_again_has_not_lapsed():
    case = Case()
    old = {"created": format_time(NOW - timedelta(hours=72)), "expires": format_time(NOW + timedelta(hours=1))}
    case.approvals = [case.word("alice", **old), case.word("alice"), case.word("bob", decision="deny", **old)]
    assert told(case) == "1 of 2 approvals (alice)"
    case.approvals = [case.word("alice"), case.word("bob", artifacts_rehashed=False)]
    assert told(case) == "1 of 2 approvals (alice)"


def test_all_that_was_counted_beside_peoples_words_is_named():
    """The intent leaf repeats it, so that a decision can be counted again."""
    case = Case()
    facts = case.facts()
    assert facts.freshness is not None
    scans = [scan.statement.digest for scan in facts.scans]
    assert len(scans) == 1
    assert facts.evidence == (*scans, facts.freshness.statement.digest)
    case.is_fresh = False
    assert case.facts().evidence == tuple(scans)
