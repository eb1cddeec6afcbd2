# SPDX-License-Identifier: Apache-2.0
"""Whoever takes a policy over hides nothing in it: each field of each document is moved the way that allows more, and
the comparison that decides what waits must see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel

from signwright.model.operation import Strict
from signwright.policy import documents as d
from signwright.policy.changes import changes
from signwright.policy.policy import Policy
from signwright.policy.weakening import compared, waiting_parts
from signwright.statements.models import PolicyRoot, Role
from signwright.statements.writing import public_text
from tests.support.world import World, ssh_line

WORLD = World()
LATER = "2099-01-01T00:00:00Z"
ANOTHER_SSH = ssh_line(Ed25519PrivateKey.generate())
ANOTHER_KEY = public_text(Ed25519PrivateKey.generate())


LIMIT = {"company_name": ("Example Ltd",)}
MEMBER = d.MemberRule(
    path="*.exe",
    action="verify",
    format="pe",
    options={"digest": "sha384"},
    signers=("ab" * 32,),
    min=1,
    metadata=LIMIT,
    members=(d.MemberRule(path="inner", action="verify", min=1, metadata=LIMIT),),
)


def rich() -> Policy:
    """A policy in which every field holds something that can be taken away."""
    policy = WORLD.policy()
    project = policy.projects["default"]
    rule = project.signing_policies["release"].model_copy(
        update={
            "approvals": d.Approvals(required=3, eligible=("release",), groups={"release": 2}),
            "hold": "qa",
            "options": {"description": d.OptionRule(values=("one", 2))},
            "max_per_day": 10,
        }
    )
    key_id, credential = next(iter(policy.credentials.credentials.items()))
    owned = credential.model_copy(update={"person": "alice", "expires": "2027-01-01T00:00:00Z", "disabled": True})
    return replace(
        policy,
        organisation=policy.organisation.model_copy(update={"live": True, "weakening_delay_hours": 48}),
        people=d.People(people={**policy.people.people, "alice": _disabled(policy.people.people["alice"])}),
        credentials=d.Credentials(credentials={**policy.credentials.credentials, key_id: owned}),
        keys=d.Keys(
            keys={
                **policy.keys.keys,
                "release": _disabled(policy.keys.keys["release"]).model_copy(
                    update={"max_per_day": 10, "protection": "attested"}
                ),
            }
        ),
        services=policy.services.model_copy(update={"quorum": d.Quorum(outside=1, local=1)}),
        projects={
            "default": project.model_copy(
                update={
                    "signing_policies": {"release": rule},
                    "description": "x",
                    "artifact_configurations": {
                        name: rows.model_copy(update={"rules": tuple(map(_limited, rows.rules))})
                        for name, rows in project.artifact_configurations.items()
                    },
                }
            )
        },
        root=policy.root.model_copy(
            update={
                name: Role(threshold=2 if name != "panic" else 1, keys=(ssh_line(WORLD.keeper), ANOTHER_SSH))
                for name in ("root", "policy", "freshness", "panic")
            }
        ),
    )


def _limited(rule: d.ArtifactRule) -> d.ArtifactRule:
    return rule.model_copy(update={"metadata": LIMIT, "members": (MEMBER,)})


def _disabled(model: Any) -> Any:
    return model.model_copy(update={"disabled": True})


def _more(value: Any) -> list[Any]:
    return [value + 1]


def _less(value: Any) -> list[Any]:
    return [value - 1]


def _to(*values: Any) -> Callable[[Any], list[Any]]:
    return lambda _: list(values)


def _with(entry: Any) -> Callable[[Any], list[Any]]:
    """One entry more, at either end."""
    return lambda rows: [] if entry in rows else [(*rows, entry), (entry, *rows)]


def _quota(value: Any) -> list[Any]:
    return [] if value is None else [None, value + 1]


def _protection(value: Any) -> list[Any]:
    order = ("software", "claimed", "attested")
    return list(order[: order.index(value)])


def _twin(**update: Any) -> Callable[[Any], list[Any]]:
    """A second entry of the same name that differs, before and behind the one that is there."""
    return lambda rows: [
        pair for row in rows[:1] for twin in [row.model_copy(update=update)] for pair in ((twin, *rows), (*rows, twin))
    ]


def _both(*ways: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    return lambda value: [new for way in ways for new in way(value)]


def _named(entry: Any, *names: str) -> Callable[[Any], list[Any]]:
    """A new entry under a name; among them names that end like a field which makes a policy stronger."""
    return lambda rows: [{**rows, name: entry} for name in names]


PERSON = d.Person(groups=("release",), keys=(ANOTHER_SSH,))
SIGNING = WORLD.signing_policies()["release"]
CREDENTIAL = d.Credential(public_key=ANOTHER_KEY, kind="release", description="CI")
EXCEPTION = d.NamedException(name="no-scan", scope="*", owner="mallory", reason="because", expires=LATER)
WITNESS = WORLD.witnesses[0].model_copy(update={"name": "w2", "operator": "other"})
_MEMBERS = _both(_with(d.MemberRule(path="**", action="keep")), _twin(max=7), _to(()))
#: What allows more, for each field of each model: a function from the value to weaker ones; None: nobody can gain.
WEAKER: dict[str, Callable[[Any], list[Any]] | None] = {
    "NamedException.name": _to("no-timestamp"),
    "NamedException.scope": _to("default/release"),
    "NamedException.owner": None,
    "NamedException.reason": None,
    "NamedException.expires": _to(LATER),
    "ReleaseMinimums.approvals": _less,
    "ReleaseMinimums.scan_max_age_hours": _more,
    "ReleaseMinimums.approval_max_age_hours": _more,
    "ReleaseMinimums.retention_days": _less,
    "Organisation.name": None,
    "Organisation.live": _to(False),
    "Organisation.weakening_delay_hours": _less,
    "Organisation.freshness_hours": _more,
    "Organisation.exceptions": _both(_with(EXCEPTION), _twin(expires=LATER)),
    "LogIdentity.origin": _to("another"),
    "LogIdentity.key": _to("another"),
    "Witness.name": _to("another"),
    "Witness.key": _to("another"),
    "Witness.operator": _to("another"),
    "Witness.outside": _to(True),
    "Quorum.outside": _less,
    "Quorum.local": _less,
    "Quorum.window_minutes": _more,
    "TimestampAuthority.name": _to("another"),
    "TimestampAuthority.anchors": _with("BBBB"),
    "TimestampAuthority.outside": _to(True),
    "Scanner.name": _to("another"),
    "Scanner.public_key": _to(ANOTHER_KEY),
    "Services.witnesses": _both(_with(WITNESS), _twin(key="another")),
    "Services.timestamp_authorities": _twin(anchors=("BBBB",)),
    "Services.scanners": _both(_with(d.Scanner(name="mine", public_key=ANOTHER_KEY)), _twin(public_key=ANOTHER_KEY)),
    "Services.gate_key": _to(ANOTHER_KEY),
    "Services.receipt_keys": _with(ANOTHER_KEY),
    "Person.groups": _with("qa"),
    "Person.keys": _with(ANOTHER_SSH),
    "Person.disabled": _to(False),
    "People.people": _named(PERSON, "mallory", "mallory.disabled", "mallory.x", "alice.groups"),
    "Credential.public_key": _to(ANOTHER_KEY),
    "Credential.kind": _to("test", "release"),
    "Credential.description": None,
    "Credential.person": _to(None, "bob"),
    "Credential.expires": _to(None, LATER),
    "Credential.disabled": _to(False),
    "Credentials.credentials": _named(CREDENTIAL, "swk_aaaaaaaaaaaaaaaaaaaa"),
    "Key.kind": _to("test", "release"),
    "Key.family": _to("raw", "cms"),
    "Key.purposes": _with("jar"),
    "Key.public_key": _to("BBBB"),
    "Key.chain": _with("BBBB"),
    "Key.protection": _protection,
    "Key.max_per_day": _quota,
    "Key.disabled": _to(False),
    "Keys.keys": _named(WORLD.default_key("release"), "mine", "mine.disabled", "mine.max_per_day", "x.protection"),
    "ArtifactRule.name": _to("?"),
    "ArtifactRule.format": _to("raw"),
    "ArtifactRule.min": None,  # at its least in this policy
    "ArtifactRule.max": _more,
    "ArtifactRule.members": _MEMBERS,
    "ArtifactRule.unlisted": _to("keep"),
    "MemberRule.path": _to("**"),
    "MemberRule.action": _to("sign", "keep"),
    "MemberRule.format": _to("msi", None),
    "MemberRule.options": _to({}, {"digest": "sha256"}),
    "MemberRule.signers": _with("cd" * 32),
    "MemberRule.existing": _to("replace", "append"),
    "MemberRule.min": _less,
    "MemberRule.max": _more,
    "MemberRule.metadata": _to({}, {"company_name": ("Example Ltd", "*")}, {"product_name": ("Example Ltd",)}),
    "MemberRule.members": _MEMBERS,
    "MemberRule.unlisted": _to("keep"),
    "SigningPolicy.derived": _to("allow"),
    "ArtifactRule.metadata": _to({}, {"company_name": ("Example Ltd", "*")}, {"product_name": ("Example Ltd",)}),
    "ArtifactConfiguration.files": _to("one"),
    "ArtifactConfiguration.rules": _both(_with(d.ArtifactRule(name="?", format="raw")), _twin(max=10_000)),
    "ArtifactConfiguration.max_size": _more,
    "Approvals.required": _less,
    "Approvals.eligible": _both(_with("qa"), _to(())),
    "Approvals.groups": _to({}, {"release": 1}, {"qa": 2}),
    "Approvals.exclude_submitter": _to(False),
    "Approvals.max_age_hours": _more,
    "ScanRule.required": _to(False),
    "ScanRule.max_age_hours": _more,
    "OptionRule.values": _both(_with("two"), _to(("one", "2"), ("one", "2", 2), ("one", 2, "2"), ("one", True))),
    "OptionRule.any": _to(True),
    "SigningPolicy.kind": _to("test"),
    "SigningPolicy.key": _to("test"),
    "SigningPolicy.artifact_configuration": _to("files"),
    "SigningPolicy.modes": _with("digest"),
    "SigningPolicy.submitters": _with("swk_aaaaaaaaaaaaaaaaaaaa"),
    "SigningPolicy.timestamp": _to("none"),
    "SigningPolicy.hold": _to(None),
    "SigningPolicy.options": _named(d.OptionRule(any=True), "url", "url.any", "any"),
    "SigningPolicy.max_request_age_hours": _more,
    "SigningPolicy.retention_days": _less,
    "SigningPolicy.max_per_day": _quota,
    "Project.description": None,
    "Project.artifact_configurations": _named(
        d.ArtifactConfiguration(rules=(d.ArtifactRule(name="*", format="raw"),)), "mine", "mine.max_size"
    ),
    "Project.signing_policies": _named(
        SIGNING, "mine", "mine.hold", "mine.max_per_day", "mine.retention_days", "x.approvals.required"
    ),
    "Role.threshold": _less,
    "Role.keys": _with(ssh_line(Ed25519PrivateKey.generate())),
    "PolicyRoot.version": None,  # root versions, organisation and trial mark have rules of their own
    "PolicyRoot.organisation": None,
    "PolicyRoot.trial": None,
    "PolicyRoot.created": None,
    "PolicyRoot.expires": None,
}


def _models(model: type[BaseModel], known: tuple[type[BaseModel], ...] = ()) -> Iterator[type[BaseModel]]:
    if model in known:
        return
    yield model
    for info in model.model_fields.values():
        waiting = [info.annotation]
        while waiting:
            one = waiting.pop()
            waiting += [a for a in get_args(one) if a is not Ellipsis]
            if isinstance(one, type) and issubclass(one, BaseModel):
                yield from _models(one, (*known, model))


MODELS = {m for top in (*d.DOCUMENTS.values(), d.Project, PolicyRoot) for m in _models(top)}


def _replaced(model: BaseModel, path: Sequence[Any], new: Any) -> Any:
    """A copy in which the value at ``path`` (fields, names, indexes) is ``new``; nothing is checked."""
    if not path:
        return new
    head, *rest = path
    if isinstance(model, BaseModel):
        return model.model_copy(update={head: _replaced(getattr(model, head), rest, new)})
    if isinstance(model, dict):
        return {**model, head: _replaced(model[head], rest, new)}
    rows: Any = model
    return tuple(_replaced(row, rest, new) if at == head else row for at, row in enumerate(rows))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    """(model and field, path, value) of every field below ``value``."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            below = getattr(value, name)
            yield f"{type(value).__name__}.{name}", (*path, name), below
            yield from _places(below, (*path, name))
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from _places(below, (*path, name))
    elif isinstance(value, tuple):
        for at, below in enumerate(value):
            yield from _places(below, (*path, at))


def _policy_with(policy: Policy, document: str, new: Strict) -> Policy:
    if document == "policy-root":
        return replace(policy, root=new)  # type: ignore[arg-type]
    if document.startswith("projects/"):
        return replace(policy, projects={**policy.projects, document.partition("/")[2]: new})  # type: ignore[dict-item]
    return replace(policy, **{document: new})  # type: ignore[arg-type]


OLD = rich()


def _weakenings() -> Iterator[Any]:
    """Names and order say nothing of keys, which each process makes anew."""
    rows: list[tuple[str, str, Any, Any]] = []
    for document, content in compared(OLD).items():
        for field, path, value in _places(content):
            weaker = WEAKER.get(field)
            for new in weaker(value) if weaker else ():
                if new != value or repr(new) != repr(value):
                    rows.append((document, field, path, new))
    for at, (document, field, path, new) in enumerate(sorted(rows, key=lambda row: row[:2])):
        yield pytest.param(document, path, new, id=f"{document} {field} {at}")


def test_every_field_of_every_document_is_in_the_table():
    """A new field has to be placed here, and thought about, before this passes."""
    fields = {f"{m.__name__}.{name}" for m in MODELS for name in m.model_fields}
    whole = {  # of these only their own fields say anything
        *("Organisation.release", "Services.log", "Services.quorum", "SigningPolicy.approvals", "SigningPolicy.scan"),
        *(f"PolicyRoot.{name}" for name in ("root", "policy", "freshness", "panic")),
    }
    assert fields - whole == set(WEAKER)


def test_every_field_that_can_be_weakened_is_weakened():
    reached = {field for content in compared(OLD).values() for field, _, _ in _places(content)}
    assert {field for field, weaker in WEAKER.items() if weaker} - reached == set()


@pytest.mark.parametrize(("document", "path", "new"), list(_weakenings()))
def test_what_allows_more_waits_and_is_told(document, path, new):
    before = compared(OLD)[document]
    after = _replaced(before, path, new)
    assert changes({document: before}, {document: after})
    if path[:1] == ("panic",) and path[1:] != ("threshold",):
        return  # another panic key may only halt
    assert waiting_parts(OLD, _policy_with(OLD, document, after)) == (document.partition("/")[0],)


def test_rule_that_goes_waits_because_a_wider_one_may_take_its_files():
    """Files fall to the first rule that fits: without ``setup.exe``, of which one is wanted, a hundred are."""
    narrow = d.ArtifactRule(name="setup.exe", format="pe", min=1, max=1)
    wide = d.ArtifactRule(name="*", format="pe", max=100)

    def with_rules(*rules: d.ArtifactRule) -> Policy:
        project = OLD.projects["default"]
        configurations = {**project.artifact_configurations, "programs": d.ArtifactConfiguration(rules=rules)}
        return replace(
            OLD, projects={"default": project.model_copy(update={"artifact_configurations": configurations})}
        )

    assert waiting_parts(with_rules(narrow, wide), with_rules(wide)) == ("projects",)
    assert waiting_parts(with_rules(wide), with_rules(narrow, wide)) == ("projects",)


def test_a_person_with_a_dot_in_the_name_can_be_disabled_at_once():
    people = {**OLD.people.people, "bob.smith": OLD.people.people["bob"]}
    old = replace(OLD, people=d.People(people=people))
    new = replace(OLD, people=d.People(people={**people, "bob.smith": _disabled(people["bob.smith"])}))
    assert waiting_parts(old, new) == ()
    assert waiting_parts(new, old) == ("people",)
