# SPDX-License-Identifier: Apache-2.0
"""A digest that nobody approved, of content that nobody approved: who has the approved file notices."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from signwright.client.follows import check_follows
from signwright.errors import VerificationError
from signwright.model.digest import sha256_hex
from signwright.model.operation import operation_list
from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView
from signwright.plan import package
from signwright.readers.registry import READERS
from signwright.statements.bundle import ReceiptBundle, blob, envelope_blob, open_envelope
from signwright.statements.models import Request, parse_statement
from signwright.statements.writing import sign_ed25519, statement_payload
from tests.attacks.gate.test_between_waves import trust_of
from tests.attacks.gate.test_derived import FILES, RULES, jar
from tests.attacks.gate.test_receipts_of_waves import Signed, made
from tests.support.deep import sign_inside
from tests.support.gates import sha256
from tests.support.zip_builder import Zip

__all__ = ["made"]


def signed(made: Signed) -> bytes:
    source = BytesView(jar())
    result = Patched(source, Patch.decode(made.patch))
    return result.read(0, result.size)


def words(made: Signed, result: bytes, source: bytes | None = None, bundle: ReceiptBundle | None = None) -> str:
    views = BytesView(source or jar()), BytesView(result)
    return check_follows(bundle or made.bundle, trust_of(made.site), *views)


def code(*arguments: Any, **named: Any) -> str:
    with pytest.raises(VerificationError) as refused:
        words(*arguments, **named)
    return refused.value.code


def told(made: Signed, result: bytes) -> ReceiptBundle:
    """What a gate that was taken says of a result: everything fits, but what it follows from."""
    found = [*READERS["jar"].read(BytesView(result)).signatures]
    found += READERS["zip"].read_members(BytesView(result), ["native/lib.dll"]).signatures  # type: ignore[attr-defined]
    request = parse_statement(open_envelope(made.bundle.authorisation.request), Request).predicate  # type: ignore[union-attr]
    (later,) = request.artifacts[0].derived
    operation = {**later.model_dump(exclude={"wave", "algorithm"}), "digest": str(found[0].content_digest)}
    written = operation_list([(0, type(request.artifacts[0].operations[0]).model_validate(operation))])
    said = made.said.model_copy(update={"envelopes_sha256": tuple(sha256_hex(one.envelope) for one in found)})
    payload = statement_payload(said, [("app.jar", sha256(result))])
    second = made.bundle.waves[1].model_copy(update={"operations": blob(written)})
    receipt = envelope_blob(sign_ed25519(payload, made.site.world.receipts))
    return made.bundle.model_copy(update={"receipt": receipt, "waves": (made.bundle.waves[0], second)})


def of(made: Signed, program: bytes = FILES["a/B.class"]) -> bytes:
    """Signed by the key of the site, in waves, whether it was asked to or not. ``program``: the class in it."""
    content = Zip(tuple({**FILES, "a/B.class": program}.items()), comment=b"lie:none;").build()
    return sign_inside(content, RULES, made.site.keyholder.identities["test"], form="jar")


def test_result_follows_from_the_approved_file(made: Signed) -> None:
    assert "byte for byte" in words(made, signed(made))
    again = of(made)
    assert "byte for byte" in words(made, again, bundle=told(made, again))


def test_result_with_another_class_does_not_follow_however_it_is_signed(made: Signed) -> None:
    evil = of(made, program=b"run me")
    assert len(READERS["jar"].read(BytesView(evil)).signatures) == 1
    assert code(made, evil, bundle=told(made, evil)) == "not-derived"
    assert code(made, evil) == "not-derived", "with the honest receipt: its digests are not in there"


def test_signer_with_another_zlib_is_no_liar(made: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    def stored_blocks(content: Any) -> tuple[int, bytes]:
        plain = content.read(0, content.size)
        engine = zlib.compressobj(0, wbits=-zlib.MAX_WBITS)
        return zlib.crc32(plain), engine.compress(plain) + engine.flush()

    with monkeypatch.context() as other:
        other.setattr(package, "_deflated", stored_blocks)
        honest, evil = of(made), of(made, program=b"run me")
    assert "but for how members are packed" in words(made, honest, bundle=told(made, honest))
    assert code(made, evil, bundle=told(made, evil)) == "not-derived"


def test_another_source_and_a_receipt_that_does_not_say_are_no_proof(made: Signed) -> None:
    other = Zip(tuple(FILES.items()), comment=b"other").build()
    assert code(made, signed(made), source=other) == "wrong-source"
    assert code(made, signed(made), bundle=made.bundle.public()) == "not-derived"
