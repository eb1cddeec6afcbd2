# SPDX-License-Identifier: Apache-2.0
"""The seam of formats, with a toy whose second digest depends on its first signature."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from signwright.errors import FormatError
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.waves import sign_in_waves
from signwright.model.operation import MAX_WAVES, DerivedOperation, Operation
from signwright.model.patch import Patch, Patched, Splice
from signwright.model.view import BytesView, View

LATER = DerivedOperation(template="raw", wave=1, algorithm="sha256")


class Toy:
    """Content, then ``[inner]`` over the content, then ``[outer]`` over content and inner signature."""

    name = "toy"
    title = "Toy of two waves"
    purpose = "raw"
    options = FormatOptions
    digest_mode = False
    detached_suffix = ""
    verifiers = ()

    def recognizes(self, view: View) -> bool:
        return view.size > 0

    def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:
        del chain, options
        content = view.read(0, view.size)
        signed = content.count(b"[")
        if signed > 1:
            raise FormatError("signed twice already")
        digest = hashlib.sha256(content).hexdigest()
        return Prepared(
            format="toy",
            source_sha256=digest,
            source_size=len(content),
            operations=(
                Operation(inner_path="inner" if not signed else "", template="raw", digest=f"sha256:{digest}"),
            ),
            later=() if signed else (LATER,),
        )

    def embed(self, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
        insert = b"[" + envelopes[0] + b"]"
        size = prepared.source_size
        return Patch(prepared.source_sha256, size, "", size + len(insert), (Splice(size, 0, insert),))


def envelope(wave: int, prepared: Prepared) -> list[bytes]:
    return [f"{wave}:{o.digest[7:15]}".encode() for o in prepared.operations]


def run(toy: Toy, content: bytes = b"content", sign: object = envelope) -> bytes:
    view = BytesView(content)
    patch = sign_in_waves(toy, view, chain=(), options=FormatOptions(), sign=sign)  # type: ignore[arg-type]
    result = Patched(view, patch).read(0, patch.result_size)
    assert hashlib.sha256(result).hexdigest() == patch.result_sha256
    assert patch.source_sha256 == hashlib.sha256(content).hexdigest()
    return result


def test_second_wave_sees_the_first_signature_and_the_patches_compose() -> None:
    first = hashlib.sha256(b"content").hexdigest()[:8]
    inner = f"content[0:{first}]"
    second = hashlib.sha256(inner.encode()).hexdigest()[:8]
    assert run(Toy()) == f"{inner}[1:{second}]".encode()


def test_format_that_never_becomes_final_is_stopped() -> None:
    class Endless(Toy):
        def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:
            content = view.read(0, view.size)
            digest = hashlib.sha256(content).hexdigest()
            operations = (Operation(inner_path=f"part{view.size}", template="raw", digest=f"sha256:{digest}"),)
            return Prepared(
                format="toy", source_sha256=digest, source_size=view.size, operations=operations, later=(LATER,)
            )

    with pytest.raises(FormatError) as problem:
        run(Endless())
    assert (problem.value.code, MAX_WAVES) == ("too-many-waves", 8)


def test_operation_of_an_earlier_wave_is_not_signed_again() -> None:
    class Fickle(Toy):
        def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:
            prepared = super().prepare(view, chain, options)
            (operation,) = prepared.operations
            return prepared.model_copy(update={"operations": (operation.model_copy(update={"inner_path": "inner"}),)})

    with pytest.raises(FormatError) as problem:
        run(Fickle())
    assert problem.value.code == "repeated-operation"


def test_same_path_with_another_digest_algorithm_is_another_operation() -> None:
    class Twice(Toy):
        def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:
            prepared = super().prepare(view, chain, options)
            digest = f"sha512:{'11' * 64}" if prepared.final else prepared.operations[0].digest
            return prepared.model_copy(update={"operations": (Operation(template="raw", digest=digest),)})

    assert run(Twice()).endswith(b"[1:11111111]")


def test_wave_without_an_operation_is_refused() -> None:
    class Idle(Toy):
        def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:
            return super().prepare(view, chain, options).model_copy(update={"operations": ()})

    with pytest.raises(FormatError) as problem:
        run(Idle())
    assert problem.value.code == "empty-wave"


def test_missing_envelope_is_refused() -> None:
    with pytest.raises(FormatError):
        run(Toy(), sign=lambda wave, prepared: [])  # noqa: ARG005


def test_patch_for_another_content_is_refused() -> None:
    class Liar(Toy):
        def embed(self, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
            patch = super().embed(prepared, envelopes)
            return Patch("00" * 32, patch.source_size, "", patch.result_size, patch.splices)

    with pytest.raises(FormatError):
        run(Liar())


def test_prepared_crosses_processes_as_strict_plain_data() -> None:
    prepared = Toy().prepare(BytesView(b"x"), (), FormatOptions())
    assert Prepared.model_validate_json(prepared.model_dump_json()) == prepared
    with pytest.raises(ValueError, match="extra"):
        Prepared.model_validate({**prepared.model_dump(), "extra": 1})
