# SPDX-License-Identifier: Apache-2.0
"""Archives that are signed after their members: what is prepared for a wave is embedded, and changes nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from signwright.envelopes import cms, der
from signwright.errors import SignwrightError
from signwright.formats.base import Format, Prepared
from signwright.formats.jar import JarFormat, JarOptions
from signwright.formats.nuget import NuGetFormat, NuGetOptions
from signwright.model.operation import DerivedOperation
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView, View
from signwright.plan import signing
from signwright.policy.documents import Inside, MemberRule
from signwright.readers.base import Keeper, Stripper
from signwright.readers.registry import READERS

# Shaped like an envelope and like a certificate; nothing in them was signed.
ENVELOPE = der.sequence(der.oid(cms.SIGNED_DATA), der.explicit(0, der.sequence(b"\x02\x01\x01")))
KEY = bytes.fromhex(
    "3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
EMPTY = der.sequence()
CHAIN = (der.sequence(der.sequence(b"\x02\x01\x01", EMPTY, EMPTY, EMPTY, EMPTY, KEY), EMPTY, der.tlv(0x03, b"\0\0")),)
PROGRAMS = MemberRule(path="**/n.dll", action="sign", format="pe", existing="replace")
JARS = MemberRule(
    path="**/*.jar",
    action="sign",
    format="jar",
    options={"signer_name": "FUZZ"},
    existing="replace",
    members=(PROGRAMS,),
    unlisted="keep",
)
RULES = Inside(members=(PROGRAMS, JARS), unlisted="keep")
FORMATS: tuple[tuple[Format, JarOptions | NuGetOptions], ...] = (
    (JarFormat(), JarOptions(existing="replace", signer_name="FUZZ")),
    (NuGetFormat(), NuGetOptions(existing="replace")),
)


def one_input(data: bytes) -> None:
    view = BytesView(data)
    refusals = []
    for one, options in FORMATS:
        try:
            prepared = signing.prepare(one, view, CHAIN, options, RULES)
        except SignwrightError as problem:
            refusals.append(problem)
            continue
        try:
            _waves(one, view, prepared, options)
        except SignwrightError as problem:
            raise AssertionError("what was prepared cannot be signed") from problem
    if len(refusals) == len(FORMATS):
        raise refusals[0]


def _waves(one: Format, view: View, prepared: Prepared, options: JarOptions | NuGetOptions) -> None:
    planned: Sequence[DerivedOperation] = prepared.later
    for wave in range(1 + max((row.wave for row in planned), default=0)):
        if wave:
            paths = [row.inner_path for row in planned if row.wave == wave]
            prepared = signing.prepare_again(one, view, CHAIN, options, RULES, paths)
            assert [operation.inner_path for operation in prepared.operations] == paths
        view = _embedded(view, Prepared.unpack(prepared.pack()))


def _embedded(view: View, prepared: Prepared) -> View:
    """The result of a wave, in which the independent reader finds nothing else changed."""
    result = Patched(view, sealed(view, signing.embed(view, prepared, [ENVELOPE] * len(prepared.operations))))
    reader = READERS[prepared.format]
    if not isinstance(reader, Keeper):
        assert isinstance(reader, Stripper)
        assert reader.stripped(view) == reader.stripped(result), "the strip test would fail"
        return result
    signed = [operation.inner_path for operation in prepared.operations]
    before, after = reader.read_members(view, signed), reader.read_members(result, signed)
    assert before.kept_sha256 == after.kept_sha256, "a member that stays has changed"
    assert before.stripped_sha256 == after.stripped_sha256, "the strip test would fail"
    return result
