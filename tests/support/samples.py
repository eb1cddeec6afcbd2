# SPDX-License-Identifier: Apache-2.0
"""One sample of each JSON that comes from outside, made by the real builders, and the reader that it is for.

`SAMPLES` must name every statement type, document and leaf of the package: tests/unit/bad_input sees to it.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from signwright import statements
from signwright.errors import LimitError, MalformedError, SignwrightError
from signwright.model.operation import Strict
from signwright.model.times import format_time
from signwright.policy.documents import DOCUMENTS, Person, Project
from signwright.policy.policy import Policy
from signwright.policy.write import document_bytes
from signwright.statements import bundle, custodian, dsse, models
from signwright.statements.dsse import Envelope, parse_envelope
from signwright.statements.models import PREDICATES, parse_statement
from signwright.statements.parse import MAX_DOCUMENT, MAX_MANIFEST, MAX_STATEMENT, parse_model
from signwright.statements.receipt import Receipt
from signwright.statements.writing import statement_payload
from signwright.transparency.intent import MAX_LEAF, Leaf
from signwright.transparency.leaf import HubEventsLeaf, parse_leaf
from tests.support import leaves
from tests.support.bad_input import Schema
from tests.support.world import NOW, World

HEX = "ab" * 32
T = format_time(NOW)
LATER = format_time(NOW + timedelta(hours=8))
NONCE = "0123456789abcdef" * 2


@dataclass(frozen=True)
class Sample:
    """``content``: bytes that ``read`` accepts; ``schema``: what plain data must be; ``limit``: of bytes."""

    name: str
    content: bytes
    read: Callable[[bytes], object]
    schema: Schema
    limit: int
    errors: tuple[type[SignwrightError], ...] = (MalformedError, LimitError)

    @property
    def value(self) -> Any:
        return json.loads(self.content)


# Some statement types enter the table where they are defined.
for _module in pkgutil.iter_modules(statements.__path__, "signwright.statements."):
    importlib.import_module(_module.name)


@cache
def world() -> World:
    made = World()
    made.policy()
    return made


@cache
def policy() -> Policy:
    return world().policy()


def predicates() -> dict[str, Strict]:
    """One of each statement type, with every optional member there."""
    made = world()
    request = parse_statement(
        made.request(source=models.SourceRevision(repository="https://example/r", commit="a" * 40, ref="refs/tags/v1")),
        models.Request,
    ).predicate
    artifact = request.artifacts[0].model_copy(update={"options": {"description": "Program", "nested": True}})
    approval = parse_statement(
        made.approval(made.request(), "alice", policy=policy(), comment="read", evidence_verified=(HEX,)),
        models.Approval,
    ).predicate
    found: dict[str, Strict] = {
        "request": request.model_copy(update={"artifacts": (artifact,)}),
        "approval": approval,
        "session": PREDICATES["session"](person="alice", public_key="ed25519:AAAA", created=T, expires=LATER),
        "evidence": parse_statement(made.scan(b"x", "infected"), PREDICATES["evidence"]).predicate,
        "policy-root": made.root,
        "policy": policy().index,
        "freshness": parse_statement(
            made.freshness(
                revoked_credentials=tuple(policy().credentials.credentials), revoked_people=("bob",), halts=(HEX,)
            ),
            models.Freshness,
        ).predicate,
        "halt": PREDICATES["halt"](reason="a key is gone", nonce=NONCE, created=T),
        "resume": PREDICATES["resume"](halts=(HEX,), policy_version=2, reason="found again", created=T),
        "key-operation": PREDICATES["key-operation"](
            key="release", operation="csr", parameters={"subject": "CN=x"}, nonce=NONCE, created=T, expires=LATER
        ),
        "order": PREDICATES["order"](
            request=HEX, wave=0, attempt=1, policy_sha256=HEX, operations_sha256=HEX, leaf_sha256=HEX, leaf_index=3,
            created=T,
        ),
        "receipt": receipt(),
    }  # fmt: skip
    return found


def receipt() -> Receipt:
    digests = dict.fromkeys(("request", "source_sha256", "content_sha256", "patch_sha256", "key", "certificate"), HEX)
    words: dict[str, Any] = {
        "format": "pe",
        "mode": "artifact",
        "project": "default",
        "signing_policy": "release",
        "kind": "release",
        "grade": "release",
        "key_protection": "software",
        "log_origin": "log.example",
        "sandbox": "none",
        "timestamp": "local",
        "created": T,
        "policy_sha256": HEX,
        "envelopes_sha256": (HEX,),
        "people": ("alice",),
        "exceptions": ("local-witness",),
        "intents": (3,),
        **dict.fromkeys(("artifact", "policy_version", "profile", "witnesses_outside", "witnesses_local"), 1),
        **dict.fromkeys(("trial", "content_seen", "derived"), True),
    }
    return Receipt(**digests, **words)


def statement_samples() -> Iterator[Sample]:
    """The payloads, and the envelope around one of them."""
    outer = models._Statement
    for name, predicate in predicates().items():
        subjects = [("request", HEX)]
        model = PREDICATES[name]

        def read(content: bytes, model: type[Strict] = model) -> object:
            return parse_statement(Envelope(content, ()), model)

        content = statement_payload(predicate, subjects)
        yield Sample(f"statement {name}", content, read, Schema({(): outer, ("predicate",): model}), MAX_STATEMENT)
    confirmation = custodian.Confirmation(
        decision="deny", person="carol", challenge=HEX, shown=(HEX,), reason="not this one", created=T
    )
    yield Sample(
        "statement custodian",
        custodian.custodian_payload(confirmation, ["cd" * 32]),
        lambda content: custodian.parse_custodian(Envelope(content, ())),
        Schema({(): custodian._Statement, ("predicate",): custodian.Confirmation}),
        MAX_STATEMENT,
    )
    yield Sample(
        "envelope", world().request().encode(), parse_envelope, Schema({(): dsse._Envelope}), dsse.MAX_ENVELOPE
    )


def document_samples() -> Iterator[Sample]:
    """Every document of a policy, with the members that the small organisation leaves out."""
    for name, document in full_documents().items():
        model = DOCUMENTS.get(name, Project)

        def read(content: bytes, model: type[Strict] = model) -> object:
            return parse_model(model, content, limit=MAX_DOCUMENT)

        yield Sample(f"document {name}", document_bytes(document), read, Schema({(): model}), MAX_DOCUMENT)


def full_documents() -> dict[str, Strict]:
    """The small organisation's, with each optional member in use."""
    from signwright.policy import documents as d

    found = world().documents()
    people, credentials, keys = found["people"], found["credentials"], found["keys"]
    project = found["projects/default"]
    assert isinstance(people, d.People)
    assert isinstance(credentials, d.Credentials)
    assert isinstance(keys, d.Keys)
    assert isinstance(project, d.Project)
    key_id, credential = next(iter(credentials.credentials.items()))
    machine = credential.model_copy(update={"person": "alice", "expires": LATER})
    rules = project.signing_policies
    full = rules["release"].model_copy(
        update={
            "approvals": d.Approvals(required=2, eligible=("release",), groups={"qa": 1}),
            "options": {"description": d.OptionRule(values=("Program", True, 3))},
            "hold": "qa",
            "max_per_day": 100,
        }
    )
    return {
        **found,
        "people": people.model_copy(
            update={"people": {"carol": people.people["carol"], "bob": _person(people.people["bob"])}}
        ),
        "credentials": credentials.model_copy(update={"credentials": {key_id: machine}}),
        "keys": keys.model_copy(
            update={"keys": {n: k.model_copy(update={"max_per_day": 10}) for n, k in keys.keys.items()}}
        ),
        "projects/default": project.model_copy(
            update={"description": "programs", "signing_policies": {"test": rules["test"], "release": full}}
        ),
    }


def _person(person: Person) -> Person:
    return person.model_copy(update={"disabled": True})


def leaf_samples() -> Iterator[Sample]:
    made: tuple[Leaf, ...] = (
        *(leaves.genesis(), leaves.policy(weakening=("services",)), leaves.intent(exceptions=("local-witness",))),
        *(leaves.result(), leaves.deny(), leaves.start(), leaves.freshness(), leaves.halt(), leaves.resume()),
        *(leaves.key_operation(), leaves.custodian(), leaves.beat()),
        HubEventsLeaf(head=HEX, count=3, time=T),
    )
    for one in made:
        yield Sample(f"leaf {one.type}", one.encode(), parse_leaf, Schema({(): type(one)}), MAX_LEAF)


def bundle_samples() -> Iterator[Sample]:
    logged = bundle.LoggedLeaf(leaf="AAAA", proof="AAAA")
    made = bundle.ReceiptBundle(
        receipt="AAAA",
        waves=(bundle.Wave(intent=logged, operations="AAAA"),),
        authorisation=bundle.Authorisation(
            request="AAAA", approvals=("AAAA",), evidence=("AAAA",), policy_root="AAAA", policy="AAAA",
            documents={"keys": "AAAA"},
        ),
    )  # fmt: skip
    model = bundle.ReceiptBundle
    yield Sample("receipt bundle", made.encode(), model.decode, Schema({(): model}), MAX_MANIFEST)


def shown_samples() -> Iterator[Sample]:
    """What a gate shows to its custodian."""
    shown = custodian.ShownRequest(
        **dict.fromkeys(("request", "policy_sha256"), HEX),
        project="default",
        signing_policy="release",
        kind="release",
        mode="artifact",
        key="release",
        policy_version=3,
        submitter="swk_" + "a" * 20,
        submitter_description="CI",
        submitter_person="bob",
        source=models.SourceRevision(repository="https://example/r", commit="a" * 40),
        artifacts=(
            custodian.ShownArtifact(name="a.exe", sha256=HEX, size=3, format="pe", options={"a": 1}, operations=1),
        ),
        approvals=(
            custodian.ShownApproval(
                person="alice", decision="approve", key="SHA256:x", statement=HEX, created=T, expires=LATER
            ),
        ),
        evidence=(custodian.ShownEvidence(kind="scan", says="clean", by="scanner", statement=HEX, created=T),),
        content_read=True,
        derived=True,
        exceptions=("local-witness",),
        created=T,
        expires=LATER,
    )
    yield Sample(
        "shown request", shown.encode(), custodian.read_shown, Schema({(): custodian.ShownRequest}), MAX_DOCUMENT
    )


@cache
def samples() -> dict[str, Sample]:
    made = (statement_samples, document_samples, leaf_samples, bundle_samples, shown_samples)
    return {sample.name: sample for make in made for sample in make()}
