# SPDX-License-Identifier: Apache-2.0
"""A receipt key that was stolen, or a gate that lies afterwards, about a digest that nobody approved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from signwright.client.verify import Check
from signwright.model.digest import sha256_hex
from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView
from signwright.readers.registry import READERS
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.bundle import ReceiptBundle, envelope_blob, open_envelope
from signwright.statements.models import parse_statement
from signwright.statements.receipt import Receipt
from signwright.statements.writing import sign_ed25519, statement_payload
from tests.attacks.gate.test_between_waves import asked, verified
from tests.attacks.gate.test_derived import a_site, jar
from tests.support.gates import GateSite
from tests.support.receipts import failures


@dataclass(frozen=True)
class Signed:
    """A JAR whose program was signed before it. ``patch``: to it from its source."""

    site: GateSite
    patch: bytes
    bundle: ReceiptBundle

    @property
    def said(self) -> Receipt:
        return parse_statement(open_envelope(self.bundle.receipt), Receipt).predicate

    def checks(self, bundle: ReceiptBundle) -> list[Check]:
        return verified(self.site, jar(), self.patch, bundle)

    def forged(self, **changes: Any) -> list[Check]:
        """With another receipt of the true key. ``changes``: of it, and ``waves`` and ``authorisation`` beside it."""
        beside = {name: changes.pop(name) for name in ("waves", "authorisation") if name in changes}
        about = parse_statement(open_envelope(self.bundle.receipt), Receipt).subjects[0]
        payload = statement_payload(self.said.model_copy(update=changes), [(about.name, about.digest.sha256)])
        receipt = envelope_blob(sign_ed25519(payload, self.site.world.receipts))
        return self.checks(self.bundle.model_copy(update={"receipt": receipt, **beside}))

    @property
    def own(self) -> str:
        """Digest of the JAR's own envelope."""
        source = BytesView(jar())
        result = Patched(source, Patch.decode(self.patch))
        (found,) = READERS["jar"].read(BytesView(result.read(0, result.size))).signatures
        return sha256_hex(found.envelope)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, pool: WorkerPool) -> Signed:
    site = a_site(tmp_path_factory.mktemp("site"), derived="allow")
    try:
        (answer,), _ = asked(site, pool, [jar()])
    finally:
        site.close()
    (row,) = answer.message["artifacts"]  # type: ignore[misc]
    parts = answer.parts
    return Signed(site, parts[row["patch"]], ReceiptBundle.decode(parts[row["bundle"]]))  # type: ignore[index]


def only_first(made: Signed) -> dict[str, Any]:
    """As if the archive's own signature were none of ours."""
    envelopes = tuple(one for one in made.said.envelopes_sha256 if one != made.own)
    told = {"envelopes_sha256": envelopes, "intents": made.said.intents[:1], "derived": False, "content_sha256": None}
    return {**told, "waves": made.bundle.waves[:1]}


def test_honest_receipt_says_what_is_derived(made: Signed) -> None:
    checks = made.checks(made.bundle)
    assert failures(checks) == {}
    assert any("DERIVED" in check.text for check in checks)


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        pytest.param(lambda _: {"derived": False}, {"operation": "wrong-intent"}, id="approved"),
        pytest.param(only_first, {"authorisation": "wrong-intent"}, id="the-derived-wave-left-out"),
        pytest.param(
            lambda m: {**only_first(m), "envelopes_sha256": (m.own,)},
            {"operation": "wrong-operation", "authorisation": "wrong-intent"},
            id="the-derived-signature-for-the-approved-one",
        ),
        pytest.param(
            lambda m: {"envelopes_sha256": (m.own,)}, {"operation": "wrong-operation"}, id="without-the-member"
        ),
        pytest.param(lambda m: {"waves": m.bundle.waves[::-1]}, {"log": "wrong-intent"}, id="the-other-way-round"),
        pytest.param(
            lambda m: {"waves": m.bundle.waves[1:], "intents": m.said.intents[1:]},
            {"file": "wrong-file", "log": "wrong-intent"},
            id="the-approved-wave-left-out",
        ),
        pytest.param(
            lambda m: {"waves": m.bundle.waves[:1] * 2, "intents": m.said.intents[:1] * 2},
            {"log": "wrong-intent"},
            id="the-approved-wave-twice",
        ),
    ],
)
def test_receipt_that_has_it_otherwise_is_refused(
    made: Signed, change: Callable[[Signed], dict[str, Any]], codes: dict[str, str]
) -> None:
    assert failures(made.forged(**change(made))) == codes


def test_shareable_receipt_without_the_derived_wave_does_not_speak_for_the_archive(made: Signed) -> None:
    """Who has no authorisation to count cannot know what is missing, and is not told that it was approved."""
    checks = made.forged(**only_first(made), authorisation=None)
    assert failures(checks) == {}
    assert [check.text for check in checks if check.text.endswith("this receipt is not about that")] != []
