# SPDX-License-Identifier: Apache-2.0
"""Whose signature a NuGet package has: an author's may be replaced, a repository's belongs to the repository.

A repository signs a package that has no author's signature, or countersigns the author's signature value. A new
author's signature would have to drop either: the countersigned value would be gone. So they are not replaced; who wants
that removes the signature first, with the command for it.
"""

from __future__ import annotations

from signwright.envelopes import der
from signwright.envelopes.cms import SIGNED_DATA
from signwright.envelopes.nuget import COMMITMENT_TYPE, PROOF_OF_ORIGIN
from signwright.errors import FormatError, MalformedError

COUNTERSIGNATURE = "1.2.840.113549.1.9.6"


def refuse_repository_signature(envelope: bytes, offset: int) -> None:
    """Raise `FormatError` unless ``envelope`` is the signature of an author and carries no countersignature.

    ``offset``: of the envelope, for messages. What does not read as DER with one signer is refused as well.
    """
    try:
        signed, unsigned = _attributes(envelope)
        kinds = [value.encoded for value in signed.get(COMMITMENT_TYPE, [])]
    except (MalformedError, IndexError) as problem:
        raise FormatError(
            f"the existing signature does not read as CMS in DER: {problem}",
            offset=offset,
            code="bad-envelope",
            hint="remove the signature first",
        ) from problem
    if kinds == [der.sequence(der.oid(PROOF_OF_ORIGIN))] and COUNTERSIGNATURE not in unsigned:
        return
    found = "countersigned by a repository" if COUNTERSIGNATURE in unsigned else "not signed by an author"
    raise FormatError(
        f"the package is {found}, which a new author's signature would undo",
        offset=offset,
        code="repository-signed",
        hint="remove the signature first, or sign the package as its author made it",
    )


def _attributes(envelope: bytes) -> tuple[dict[str, list[der.Element]], dict[str, list[der.Element]]]:
    """Signed and unsigned attributes of the only signer: dotted type to values."""
    info = der.read_all(der.read_one(envelope, der.SEQUENCE).content)
    if len(info) != 2 or info[0].encoded != der.oid(SIGNED_DATA):
        raise MalformedError("not CMS SignedData")
    body = der.read_all(der.read_one(der.read_one(info[1].encoded, 0xA0).content, der.SEQUENCE).content)
    signers = der.read_all(der.read_one(body[-1].encoded, der.SET).content)
    if len(signers) != 1:
        raise MalformedError(f"{len(signers)} signers, wanted 1")
    fields = der.read_all(der.read_one(signers[0].encoded, der.SEQUENCE).content)
    signed = [field for field in fields if field.tag == 0xA0]
    unsigned = [field for field in fields if field.tag == 0xA1]
    return _by_type(signed), _by_type(unsigned)


def _by_type(sets: list[der.Element]) -> dict[str, list[der.Element]]:
    known = {der.oid(name): name for name in (COMMITMENT_TYPE, COUNTERSIGNATURE)}
    found: dict[str, list[der.Element]] = {}
    for attribute in (one for each in sets for one in der.read_all(each.content)):
        parts = der.read_all(der.read_one(attribute.encoded, der.SEQUENCE).content)
        if len(parts) != 2 or parts[0].tag != der.OID:
            raise MalformedError("an attribute is not type and values")
        if parts[0].encoded in known:
            values = der.read_all(der.read_one(parts[1].encoded, der.SET).content)
            found.setdefault(known[parts[0].encoded], []).extend(values)
    return found
