# SPDX-License-Identifier: Apache-2.0
"""MSIX and AppX packages and their bundles (``.msix``, ``.appx``, ``.msixbundle``, ``.appxbundle``).

The signature is the member ``AppxSignature.p7x``.

Sources: "Open Packaging Conventions" (ECMA-376 part 2), "Package block map" (Microsoft). What is signed are digests of
five things, in the algorithm of the block map: all members but the signature as they stand in the file, the zip's
directory as it would be without the signature, [Content_Types].xml, the block map, and the catalog where there is one.
Signing adds the type of the signature to [Content_Types].xml, which is written anew in its place, and the signature
behind all other members; every other member keeps its bytes. The publisher in the manifest must be the certificate's
subject, as Windows installs no package where it is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from pydantic import Field

from signwright.containers.zip import listed_names
from signwright.envelopes.authenticode import octets
from signwright.envelopes.indirect_data import indirect_data_of_package
from signwright.errors import FormatError, LimitError
from signwright.formats.authenticode import (
    MAX_ENVELOPE,
    DescribedOptions,
    DigestName,
    authenticode_operation,
    check_envelope,
)
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.msix_blocks import BlockCheck
from signwright.formats.msix_bundle import check_bundled
from signwright.formats.msix_package import (
    BLOCK_MAP,
    BUNDLE_MANIFEST,
    CATALOG,
    CONTENT_TYPES,
    LIMITS,
    MANIFEST,
    Package,
    mapped_files,
    open_package,
)
from signwright.formats.msix_parts import (
    MAX_CONTENT_TYPES,
    SIGNATURE,
    identity,
    with_signature,
    without_signature,
)
from signwright.formats.msix_publisher import publisher_of
from signwright.formats.state import bad_state, patch_of, read_state
from signwright.formats.zip_patch import Edit, ZipPlan, replacing, zip_splices
from signwright.formats.zip_records import NewMember
from signwright.model.digest import Digest
from signwright.model.one_pass import one_pass
from signwright.model.operation import Parameter, Strict
from signwright.model.patch import Patch, Splice
from signwright.model.view import View

MARK = b"PKCX"
_LIMIT32, _LIMIT16 = (1 << 32) - 1, (1 << 16) - 1
#: As the packager writes the members that it packs.
_MADE_BY, _NEEDED = 45, 20


class MsixOptions(DescribedOptions):
    """Options of `MsixFormat`. ``digest``: the block map says it; one that is given must be the same."""

    digest: DigestName | None = Field(default=None, strict=False)
    existing: Literal["refuse", "replace"] = "refuse"


class Place(Strict):
    """Where a member is replaced, or comes to stand; see `signwright.formats.zip_patch.Edit`."""

    at: int = Field(ge=0)
    remove: int = Field(ge=0)
    entry_at: int = Field(ge=0)
    entry_remove: int = Field(ge=0)
    time: int = Field(ge=0, le=0xFFFFFFFF)

    def edit(self, *members: NewMember) -> Edit:
        return Edit(self.at, self.remove, self.entry_at, self.entry_remove, members)

    def new(self, name: str, content: bytes) -> NewMember:
        return NewMember(name, content, deflate=True, time=self.time, needed=_NEEDED, made_by=_MADE_BY)


class MsixState(Strict):
    """What `MsixFormat.embed` needs beside two tables, the directory and [Content_Types].xml: the plan, and the places
    of the signature and, where they change, of the content types.
    """

    plan: ZipPlan
    types: Place | None
    signature: Place


class MsixFormat:
    """Implements `signwright.formats.base.Format`."""

    name = "msix"
    title = "Windows app package or bundle (MSIX, AppX)"
    purpose = "authenticode"
    options: type[FormatOptions] = MsixOptions
    digest_mode = False
    file_names = ("*.msix", "*.appx", "*.msixbundle", "*.appxbundle")
    detached_suffix = ""
    verifiers: tuple[str, ...] = ("osslsigncode", "relic")

    def recognizes(self, view: View) -> bool:
        """A zip with the content types and the manifest of a package, or of a bundle."""
        try:
            names = set(listed_names(view, LIMITS)) if view.read(0, 4) == b"PK\x03\x04" else set()
        except (FormatError, LimitError):
            return False
        return CONTENT_TYPES in names and bool({MANIFEST, BUNDLE_MANIFEST} & names)

    def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:
        """One operation; memory is bounded by the number of members and the size of the block map."""
        if not isinstance(options, MsixOptions):
            raise FormatError(f"options of {type(options).__name__}, wanted MsixOptions", code="bad-options")
        package = open_package(view)
        if package.signature is not None and options.existing == "refuse":
            raise FormatError("the package is signed already", code="already-signed", hint="option existing: replace")
        _check_room(view, package)
        facts: dict[str, Parameter] = {
            **identity(package.part(package.manifest), "Bundle" if package.is_bundle else "Package"),
            "signed_before": package.signature is not None,
        }
        _check_publisher(str(facts["publisher"]), chain)
        types = with_signature(package.part(CONTENT_TYPES))
        state = _planned(view, package, types)
        source, digests, algorithm = _digests(view, package, state, types, options)
        kind = "appx-bundle" if package.is_bundle else "appx"
        content = octets(indirect_data_of_package(kind, algorithm, digests))
        return Prepared(
            format=self.name,
            source_sha256=source,
            source_size=view.size,
            operations=(authenticode_operation(kind, Digest.of(content, algorithm), options),),
            facts=facts,
            state=state.model_dump(mode="json"),
        ).beside(contents=(content,), tables=(package.directory, types))

    def embed(self, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
        """[Content_Types].xml, the signature, and the directory: three places."""
        state = _state(prepared)
        directory, types = prepared.tables
        if len(envelopes) != 1:
            raise FormatError(f"{len(envelopes)} envelopes for one operation", code="bad-envelope")
        signature = state.signature.new(SIGNATURE, MARK + check_envelope(envelopes[0]))
        splices = _splices(state, directory, types, signature)
        return patch_of(prepared.source_sha256, prepared.source_size, splices)

    def remove(self, view: View) -> Patch:
        """The package without the signature, and without the signature's type where it is spelt as we write it."""
        package = open_package(view)
        if package.signature is None:
            raise FormatError("the package has no signature", code="not-signed")
        types, source = without_signature(package.part(CONTENT_TYPES)), hashlib.sha256()
        state = _planned(view, package, types)
        one_pass(view, (), lambda block, _: source.update(block))
        return patch_of(source.hexdigest(), view.size, _splices(state, package.directory, types))


def _check_publisher(publisher: str, chain: Sequence[bytes]) -> None:
    if not chain:
        raise FormatError(
            "a package is signed with a certificate, whose subject is its publisher", code="no-certificate"
        )
    subject = publisher_of(chain[0])
    if publisher != subject:
        raise FormatError(
            f"the manifest names publisher {publisher!r}, the certificate is of {subject!r}",
            code="wrong-publisher",
            hint="put the certificate's subject into the manifest, letter by letter",
        )


def _check_room(view: View, package: Package) -> None:
    """Raise `FormatError` when the largest envelope would make a 64-bit zip: before a key is used, not after."""
    grown = view.size + MAX_ENVELOPE + MAX_CONTENT_TYPES + (64 << 10)
    if not package.is_wide and (grown >= _LIMIT32 or len(package.by_name) + 1 >= _LIMIT16):
        raise FormatError("the signed package would be a 64-bit zip, and is none now", code="too-large")
    if len(package.by_name) >= LIMITS.members:
        raise FormatError(f"a signed package has at most {LIMITS.members} members", code="too-large")


def _planned(view: View, package: Package, types: bytes) -> MsixState:
    """``types``: as they are to be; where they are so already, their member keeps its bytes."""
    member, old = package.by_name[CONTENT_TYPES], package.signature
    time = int.from_bytes(view.read(member.header + 10, 4), "little")
    edit = replacing(old) if old else package.plan.behind_all()
    changed = types != package.part(CONTENT_TYPES)
    place = _place(replacing(member), time) if changed else None
    return MsixState(plan=package.plan, types=place, signature=_place(edit, time))


def _place(edit: Edit, time: int) -> Place:
    return Place(at=edit.at, remove=edit.remove, entry_at=edit.entry_at, entry_remove=edit.entry_remove, time=time)


def _splices(state: MsixState, directory: bytes, types: bytes, *signature: NewMember) -> tuple[Splice, ...]:
    """The last two are the directory and the end records."""
    wide = len(state.plan.tail) > 44
    edits = [state.signature.edit(*signature)]
    if state.types is not None:
        edits.append(state.types.edit(state.types.new(CONTENT_TYPES, types)))
    return zip_splices(state.plan, edits, directory=directory, zip64=wide)


def _digests(
    view: View, package: Package, state: MsixState, types: bytes, options: MsixOptions
) -> tuple[str, bytes, str]:
    """SHA-256 of the file, the digests that are signed, each behind its mark, and their algorithm."""
    found, expected = mapped_files(package, view, check_bundled(package, view))
    algorithm = found.algorithm
    if options.digest is not None and options.digest.value != algorithm:
        raise FormatError(
            f"the block map is of {algorithm}, as the signature then is; {options.digest.value} was asked for",
            code="wrong-digest",
        )
    blocks, source, members = BlockCheck(expected, algorithm), hashlib.sha256(), hashlib.new(algorithm)
    *local, directory, tail = _splices(state, package.directory, types)

    def take_members(block: memoryview, offset: int) -> None:
        for piece in _spliced(block, offset, local, state.plan.directory):
            members.update(piece)

    one_pass(view, (blocks.take, take_members), lambda block, _: source.update(block))
    blocks.finish()
    rows = {
        b"AXPC": members.digest(),
        b"AXCD": hashlib.new(algorithm, directory.insert + tail.insert).digest(),
        b"AXCT": hashlib.new(algorithm, types).digest(),
        b"AXBM": hashlib.new(algorithm, package.part(BLOCK_MAP)).digest(),
    }
    if CATALOG in package.by_name:
        rows[b"AXCI"] = hashlib.new(algorithm, package.part(CATALOG)).digest()
    return source.hexdigest(), b"APPX" + b"".join(mark + value for mark, value in rows.items()), algorithm


def _spliced(block: memoryview, offset: int, splices: Sequence[Splice], end: int) -> Iterator[memoryview | bytes]:
    """What ``splices`` make of this block of the first ``end`` bytes."""
    behind = offset + len(block)
    edges = (Splice(0, 0, b""), *splices, Splice(end, 0, b""))
    for before, after in pairwise(edges):
        first, last = max(before.offset + before.remove, offset), min(after.offset, behind)
        if first < last:
            yield block[first - offset : last - offset]
        if after.insert and offset <= after.offset < behind:
            yield after.insert


def _state(prepared: Prepared) -> MsixState:
    state = read_state(prepared, MsixState, MsixFormat.name)
    if state.plan.size != prepared.source_size or len(prepared.tables) != 2:
        raise bad_state("of another package")
    return state
