# SPDX-License-Identifier: Apache-2.0
"""Sign members of an archive in memory with a throwaway key, as the cycle does."""

from __future__ import annotations

from typing import Any

from signwright.envelopes.templates import template_named
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.registry import FORMATS
from signwright.model.patch import Patch, Patched, sealed
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


def patch_for(source: bytes, rule: Inside, signer: Identity | None = None) -> Patch:
    """The sealed patch of an archive."""
    signer = signer or identity()
    made = prepared(source, rule, signer)
    contents = list(made.contents)
    envelopes = [
        envelope_of(o, signer, None, contents.pop(0) if template_named(o.template).check_content else b"")
        for o in made.operations
    ]
    view = BytesView(source)
    return sealed(view, signing.embed(FORMATS["zip"], view, made, envelopes))


def sign_inside(source: bytes, rule: Inside, signer: Identity | None = None) -> bytes:
    """The archive with its members signed."""
    patch = patch_for(source, rule, signer)
    return Patched(BytesView(source), patch).read(0, patch.result_size)
