# SPDX-License-Identifier: Apache-2.0
"""Sign members of an archive in memory with a throwaway key, as the cycle does."""

from __future__ import annotations

from typing import Any

from signwright.envelopes.templates import template_named
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.registry import FORMATS
from signwright.model.patch import Patch, Patched, compose, sealed
from signwright.model.view import BytesView
from signwright.plan import signing
from signwright.policy.documents import Inside
from tests.support.pki import Identity
from tests.support.signed_files import envelope_of, identity


def inside(*members: dict[str, Any], **more: Any) -> Inside:
    """What a rule says of members, from plain data."""
    return Inside.model_validate({"members": members, **more})


def signed(path: str, form: str, **more: Any) -> dict[str, Any]:
    """A rule that has members signed."""
    return {"path": path, "action": "sign", "format": form, **more}


def kept(path: str = "**") -> dict[str, Any]:
    return {"path": path, "action": "keep"}


def prepared(source: bytes, rule: Inside, signer: Identity | None = None, form: str = "zip") -> Prepared:
    """As it comes out of another process."""
    one = FORMATS[form]
    options = FormatOptions() if form == "zip" else one.options()
    made = signing.prepare(one, BytesView(source), (signer or identity()).chain, options, rule)
    return Prepared.unpack(made.pack())


def envelopes_for(made: Prepared, signer: Identity) -> list[bytes]:
    """One for each operation."""
    contents = list(made.contents)
    return [
        envelope_of(o, signer, None, contents.pop(0) if template_named(o.template).check_content else b"")
        for o in made.operations
    ]


def patch_for(
    source: bytes, rule: Inside, signer: Identity | None = None, form: str = "zip", **options: object
) -> Patch:
    """The sealed patch of an archive, in as many waves as it takes."""
    signer, one = signer or identity(), FORMATS[form]
    typed = one.options.model_validate(options)
    view = BytesView(source)
    made = Prepared.unpack(signing.prepare(one, view, signer.chain, typed, rule).pack())
    patch = sealed(view, signing.embed(view, made, envelopes_for(made, signer)))
    planned = made.later
    for wave in range(1, 1 + max((each.wave for each in planned), default=0)):
        current = Patched(view, patch)
        paths = [each.inner_path for each in planned if each.wave == wave]
        made = signing.prepare_again(one, current, signer.chain, typed, rule, paths)
        made = Prepared.unpack(made.pack())
        assert [each.inner_path for each in made.operations] == paths
        patch = compose(patch, sealed(current, signing.embed(current, made, envelopes_for(made, signer))))
    return patch


def sign_inside(
    source: bytes, rule: Inside, signer: Identity | None = None, form: str = "zip", **options: object
) -> bytes:
    """The archive with its members signed, and itself where it is of a format that is."""
    patch = patch_for(source, rule, signer, form, **options)
    return Patched(BytesView(source), patch).read(0, patch.result_size)
