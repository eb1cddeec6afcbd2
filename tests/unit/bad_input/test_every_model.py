# SPDX-License-Identifier: Apache-2.0
"""Nothing that is read from outside is left out: the package itself is asked which messages there are."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import signwright
from signwright.errors import LimitError, MalformedError
from signwright.hub.web.documents import Problem
from signwright.model.operation import Strict
from signwright.policy.documents import DOCUMENTS
from signwright.policy.policy import ROOTS
from signwright.statements.models import PREDICATES
from signwright.statements.parse import parse_model
from signwright.transparency import leaf
from tests.support.bad_input import Schema, mutations, write
from tests.support.samples import samples

#: Importing these starts a program, alters the database or needs the signer's own environment.
PROGRAMS = ("__main__", "migrations", "signer.start", "keyholder.pkcs11")
#: The hub's answers, which nobody reads back.
WRITTEN_ONLY: set[type[BaseModel]] = {Problem}


def models_of_the_package() -> set[type[BaseModel]]:
    for module in pkgutil.walk_packages(signwright.__path__, "signwright."):
        if not any(part in module.name for part in PROGRAMS):
            importlib.import_module(module.name)
    found = set(_below(BaseModel))
    return {model for model in found if model.__module__.startswith("signwright.") and model.model_fields}


def _below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for one in model.__subclasses__():
        yield one
        yield from _below(one)


def nested_in(model: type[BaseModel]) -> set[type[BaseModel]]:
    """The models that stand in its members, at any depth, and itself."""
    found: set[type[BaseModel]] = set()
    waiting: list[Any] = [model]
    while waiting:
        one = waiting.pop()
        if isinstance(one, type) and issubclass(one, BaseModel):
            if one not in found:
                found.add(one)
                waiting += [field.annotation for field in one.model_fields.values()]
        else:
            waiting += get_args(one)
    return found


def sampled() -> set[type[BaseModel]]:
    return {n for sample in samples().values() for model in sample.schema.models.values() for n in nested_in(model)}


def others() -> dict[str, type[BaseModel]]:
    """Models that no sample has and that stand in no other: messages between processes, settings, kept state."""
    left = models_of_the_package() - sampled() - WRITTEN_ONLY
    inner = {n for model in left for n in nested_in(model) - {model}}
    bases = {base for model in left for base in model.__mro__[1:]} | {leaf.Leaf}
    return {f"{model.__module__}.{model.__qualname__}": model for model in left - inner - bases}


OTHERS = others()


def test_every_statement_type_has_a_sample():
    assert {f"statement {name}" for name in PREDICATES} | {"statement custodian"} <= set(samples())
    named = {name for model in models_of_the_package() for name in [model.__name__] if name == "_Statement"}
    assert named == {"_Statement"}


def test_every_document_of_a_policy_has_a_sample():
    assert {f"document {name}" for name in (*DOCUMENTS, "projects/default")} <= set(samples())
    assert ROOTS == "roots/", "older roots are envelopes, which have a sample"


def test_every_leaf_has_a_sample():
    defined = {model for model in models_of_the_package() if issubclass(model, leaf.Leaf)} - {leaf.Leaf}
    assert set(leaf._TYPES.values()) == defined
    assert {f"leaf {name}" for name in leaf._TYPES} <= set(samples())


def test_nothing_that_people_sign_or_the_log_holds_is_left_to_the_general_test():
    left = {name for name in OTHERS if name.startswith(("signwright.statements", "signwright.transparency"))}
    assert not left, f"no sample in tests/support/samples.py for {sorted(left)}"


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_every_other_message_refuses_what_does_not_fit(name):
    model = OTHERS[name]
    schema = Schema({(): model})
    example = accepted_example(model, schema)
    wrong = []
    for bad in mutations(example, forms=False):
        try:
            parse_model(model, bad.content)
        except (MalformedError, LimitError):
            continue
        if not (bad.sound and schema.fits(bad.value)) and not _passes_over(model, bad.what):
            wrong.append(f"{bad.what}: accepted")
    assert not wrong, "\n".join(wrong[:20])


def accepted_example(model: type[BaseModel], schema: Schema) -> Any:
    """The first that the model takes, of texts that are nothing, times and addresses."""
    problems = []
    for text in ("x", "2026-11-21T09:30:00Z", "https://example.org"):
        example = schema.example(text)
        try:
            parse_model(model, write(example))
        except MalformedError as problem:
            problems.append(problem.message)
        else:
            return example
    raise AssertionError("\n".join(problems))


def _passes_over(model: type[BaseModel], what: str) -> bool:
    """What a newer hub adds is passed over by those who only show it."""
    ignores = model.model_config.get("extra") == "ignore"
    return ignores and ("one member more" in what or "without a name" in what)


def test_whoever_decides_passes_over_nothing():
    loose = {m for m in models_of_the_package() if m.model_config.get("extra") != "forbid"}
    assert {m.__module__ for m in loose} <= {"signwright.client.hub", "signwright.hub.web.documents"} | {
        "signwright.client.alarms.history",
        "signwright.client.alarms.people",
    }
    assert all(m.model_config.get("strict") for m in models_of_the_package() if issubclass(m, Strict))
