# SPDX-License-Identifier: Apache-2.0
"""Signing members of a zip: whatever is prepared can be embedded, opens again, and has changed nothing else."""

from __future__ import annotations

from signwright.containers.zip import ZipArchive
from signwright.envelopes import cms, der
from signwright.errors import SignwrightError
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.zip import ZipFormat
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView, View
from signwright.plan import signing
from signwright.policy.documents import Inside, MemberRule

# Shaped like an envelope; nothing in it was signed.
ENVELOPE = der.sequence(der.oid(cms.SIGNED_DATA), der.explicit(0, der.sequence(b"\x02\x01\x01")))
PROGRAMS = MemberRule(path="**/*.exe", action="sign", format="pe", existing="replace")
SCRIPTS = MemberRule(path="**/*.ps1", action="sign", format="powershell", existing="replace")
ARCHIVES = MemberRule(path="**/*.zip", action="sign", format="zip", members=(PROGRAMS,), unlisted="keep")
RULES = Inside(members=(PROGRAMS, SCRIPTS, ARCHIVES), unlisted="keep")


def one_input(data: bytes) -> None:
    view, one = BytesView(data), ZipFormat()
    one.recognizes(view)
    prepared = signing.prepare(one, view, (), FormatOptions(), RULES)
    try:
        _sign(view, Prepared.unpack(prepared.pack()))
    except SignwrightError as problem:
        raise AssertionError("what was prepared cannot be signed") from problem


def _sign(view: View, prepared: Prepared) -> None:
    envelopes = [ENVELOPE] * len(prepared.operations)
    result = Patched(view, sealed(view, signing.embed(view, prepared, envelopes)))
    before, after = ZipArchive(view), ZipArchive(result)
    changed = {operation.inner_path.partition(".zip/")[0] for operation in prepared.operations}
    assert [member.name for member in before.members] == [member.name for member in after.members]
    for old, new in zip(before.members, after.members, strict=True):
        if old.name.removesuffix(".zip") not in changed and old.name not in changed:
            kept = view.read(old.header, old.end - old.header)
            assert kept == result.read(new.header, new.end - new.header), "a member that stays has changed"
        elif not new.encrypted:
            assert sum(map(len, after.read(new))) == new.size
