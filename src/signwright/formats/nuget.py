# SPDX-License-Identifier: Apache-2.0
"""NuGet packages (``.nupkg``, ``.snupkg``): the author's signature as the member ``.signature.p7s``.

Source: "NuGet Package Signatures Technical Specification" (NuGet). The digest is of the package as it was before it was
signed, which is also what is left when the member, its record in the directory and its share of the end record are
taken away. Signing adds the member behind all others and its record behind theirs; nothing else changes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from pydantic import Field

from signwright.containers.base import ArchiveLimits
from signwright.containers.zip import END, Member, ZipArchive, listed_names
from signwright.envelopes import der
from signwright.envelopes.keys import KeyKind, load_public_key
from signwright.errors import FormatError, LimitError, MalformedError
from signwright.formats.authenticode import MAX_ENVELOPE, check_envelope
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.nuget_signature import refuse_repository_signature
from signwright.formats.nuspec import MAX_NUSPEC, nuspec_facts
from signwright.formats.state import bad_state, patch_of, read_state
from signwright.formats.zip_patch import Edit, ZipPlan, open_zip, replacing, zip_plan, zip_splices
from signwright.formats.zip_records import NewMember
from signwright.model.digest import Digest
from signwright.model.one_pass import one_pass
from signwright.model.operation import Operation, Parameter, Strict
from signwright.model.patch import Patch, Splice
from signwright.model.view import View

SIGNATURE = ".signature.p7s"
#: A package has fewer members than a 16-bit number can count, one of them its signature.
MAX_MEMBERS = 0xFFFE
#: Bytes of a directory; with the signature's record it has to stay within what the reader reads.
MAX_DIRECTORY = 15 << 20
_LIMITS = ArchiveLimits(members=MAX_MEMBERS, total=1 << 30)
#: Offsets have 32 bits.
LIMIT32 = 1 << 32
_UTF8, _DESCRIBED = 1 << 11, 1 << 3
#: What other formats that sign inside zips are known by.
_OTHERS = {"META-INF/MANIFEST.MF", "AppxManifest.xml", "AppxMetadata/AppxBundleManifest.xml", "extension.vsixmanifest"}


class NuGetOptions(FormatOptions):
    """Options of `NuGetFormat`. ``existing``: what happens to a package that its author signed already."""

    digest: Literal["sha256", "sha384", "sha512"] = "sha256"
    existing: Literal["refuse", "replace"] = "refuse"


class NuGetState(Strict):
    """What `NuGetFormat.embed` needs: the plan, and the place of the signature that is replaced, or of the new one."""

    plan: ZipPlan
    at: int = Field(ge=0)
    remove: int = Field(ge=0)
    entry_at: int = Field(ge=0)
    entry_remove: int = Field(ge=0)


class NuGetFormat:
    """Implements `signwright.formats.base.Format`."""

    name = "nuget"
    title = "NuGet package"
    purpose = "nuget"
    options: type[FormatOptions] = NuGetOptions
    digest_mode = True
    file_names = ("*.nupkg", "*.snupkg")
    detached_suffix = ""
    verifiers: tuple[str, ...] = ("openssl cms",)

    def recognizes(self, view: View) -> bool:
        """A zip with a ``.nuspec`` and the content types of a package at its root, and no other signed format's."""
        try:
            names = set(listed_names(view, _LIMITS)) if view.read(0, 4) == b"PK\x03\x04" else set()
        except (FormatError, LimitError):
            return False
        return "[Content_Types].xml" in names and any(map(_is_nuspec, names)) and names.isdisjoint(_OTHERS)

    def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:
        """One direct operation; memory is bounded by the number of members."""
        if not isinstance(options, NuGetOptions):
            raise FormatError(f"options of {type(options).__name__}, wanted NuGetOptions", code="bad-options")
        _check_chain(chain)
        archive = _open_package(view)
        old = _signature(view, archive)
        _check_room(view, archive, old)
        if old:
            _check_replaced(view, archive, old, options)
        plan = zip_plan(view, archive, [old] if old else [])
        edit = replacing(old) if old else plan.behind_all()
        facts: dict[str, Parameter] = {**_identity(archive), "signed_before": old is not None}
        source, package = _digests(view, plan, edit, options.digest)
        state = NuGetState(
            plan=plan, at=edit.at, remove=edit.remove, entry_at=edit.entry_at, entry_remove=edit.entry_remove
        )
        return Prepared(
            format=self.name,
            source_sha256=source,
            source_size=view.size,
            operations=(Operation(template="nuget", digest=str(package)),),
            facts=facts,
            state=state.model_dump(mode="json"),
        )

    def embed(self, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
        """The member, its record and the end record: three places, whatever the package's size."""
        state = _state(prepared)
        if len(envelopes) != 1:
            raise FormatError(f"{len(envelopes)} envelopes for one operation", code="bad-envelope")
        member = NewMember(SIGNATURE, check_envelope(envelopes[0]))
        edit = Edit(state.at, state.remove, state.entry_at, state.entry_remove, (member,))
        splices = zip_splices(state.plan, [edit], zip64=False)
        return patch_of(prepared.source_sha256, prepared.source_size, splices)

    def remove(self, view: View) -> Patch:
        """The package as it was before it was signed, byte for byte; any signature is removed, whoever made it."""
        archive = _open_package(view)
        old = _signature(view, archive)
        if old is None:
            raise FormatError("the package has no signature", code="not-signed")
        _check_last(archive, old)
        plan, edit = zip_plan(view, archive, [old]), replacing(old)
        return patch_of(_digests(view, plan, edit, "sha256")[0], view.size, zip_splices(plan, [edit]))


def _is_nuspec(name: str) -> bool:
    return "/" not in name and "\\" not in name and name.lower().endswith(".nuspec")


def _check_chain(chain: Sequence[bytes]) -> None:
    """What NuGet would refuse is refused before a key is used. Without a chain the template does it."""
    try:
        if chain and load_public_key(der.split_certificate(chain[0]).public_key)[0] is not KeyKind.RSA:
            raise FormatError("NuGet knows RSA keys alone, the key's certificate is of another kind", code="bad-key")
    except FormatError:
        raise
    except MalformedError as problem:
        raise FormatError(f"the key's certificate: {problem.message}", code="bad-certificate") from problem


def _open_package(view: View) -> ZipArchive:
    """Raises `FormatError` for a zip that NuGet, or anybody else, would read in another way than we do."""
    archive = open_zip(view, _LIMITS)
    found = archive.directory
    if found.end64 is not None:
        raise FormatError("a 64-bit zip, which NuGet does not sign", offset=found.end, code="zip64")
    if found.size > MAX_DIRECTORY:
        raise FormatError(f"a directory of {found.size} bytes, at most {MAX_DIRECTORY} are read", code="too-large")
    if found.base or archive.start:
        raise FormatError(f"{found.base or archive.start} bytes before the package", code="data-before-package")
    raw = {_raw_name(view, member) for member in archive.members}
    if min(len(raw), len({member.name for member in archive.members})) < len(archive.members):
        raise FormatError("two members of one name, which readers choose from differently", code="ambiguous-member")
    if END in view.read(found.end + len(END), view.size - found.end - len(END)):
        raise FormatError("a comment that reads like an end record", offset=found.end, code="ambiguous-end")
    for member in archive.members:
        _check_headers(view, member)
    return archive


def _check_headers(view: View, member: Member) -> None:
    """The two headers of a member say the same, which the scanner's reader does not ask to the last bit, and in 32
    bits.
    """
    record, local = view.read(member.entry, 46), view.read(member.header, 30)
    names, extras, _, disk = struct.unpack_from("<4H", record, 28)
    local_names, local_extras = struct.unpack_from("<2H", local, 26)
    wide = _is_wide(view.read(member.entry + 46 + names, extras))
    if wide or _is_wide(view.read(member.header + 30 + local_names, local_extras)):
        raise FormatError("a 64-bit zip, which NuGet does not sign", offset=member.header, code="zip64")
    numbers = zip(struct.unpack_from("<3L", local, 14), struct.unpack_from("<3L", record, 16), strict=True)
    later = bool(member.flags & _DESCRIBED)
    same = all(found == wanted or (later and not found) for found, wanted in numbers)
    if disk or local[6:10] != record[8:12] or not same:
        raise FormatError("the two headers of a member differ", offset=member.header, code="zip-local")


def _is_wide(extra: bytes) -> bool:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            return True
        at += 4 + length
    return False


def _raw_name(view: View, member: Member) -> bytes:
    return view.read(member.entry + 46, int.from_bytes(view.read(member.entry + 28, 2), "little"))


def _signature(view: View, archive: ZipArchive) -> Member | None:
    """The member that NuGet takes for the signature: this name in these very bytes. Readers differ in how they decode
    a name.
    """
    found = []
    for member in archive.members:
        if SIGNATURE in {member.name.casefold(), _raw_name(view, member).decode(errors="replace").casefold()}:
            found.append(member)
    if len(found) > 1 or any(m.name != SIGNATURE or m.flags & _UTF8 for m in found):
        raise FormatError(
            f"{len(found)} members that may be the signature, or one that is spelt differently",
            offset=found[0].header,
            code="ambiguous-signature",
        )
    return found[0] if found else None


def _check_last(archive: ZipArchive, old: Member) -> None:
    directory = archive.directory
    if old.end != directory.start or old.entry + old.entry_size != directory.start + directory.size:
        raise FormatError("the signature is not the last member", offset=old.header, code="signature-not-last")


def _check_replaced(view: View, archive: ZipArchive, old: Member, options: NuGetOptions) -> None:
    if options.existing == "refuse":
        raise FormatError(
            "the package is signed already", offset=old.header, code="already-signed", hint="option existing: replace"
        )
    _check_last(archive, old)
    record, local = view.read(old.entry, 46), view.read(old.header, 30)
    extras, comment, external = record[30:32], record[32:34], record[38:42]
    if old.flags or old.method or old.packed != old.size or any(extras + comment + external + local[28:30]):
        raise FormatError("the signature's headers are not those of one", offset=old.header, code="bad-envelope")
    if old.packed > MAX_ENVELOPE:
        raise FormatError(f"a signature of {old.packed} bytes", offset=old.header, code="bad-envelope")
    refuse_repository_signature(view.read(old.start, old.packed), old.start)


def _check_room(view: View, archive: ZipArchive, old: Member | None) -> None:
    """Raise `FormatError` when the largest envelope would not fit: before a key is used, not after."""
    if len(archive.members) + (old is None) > MAX_MEMBERS or view.size + MAX_ENVELOPE + (64 << 10) >= LIMIT32:
        raise FormatError(f"a signed package has at most {MAX_MEMBERS} members and less than 4 GiB", code="too-large")


def _identity(archive: ZipArchive) -> dict[str, Parameter]:
    """From the one ``.nuspec`` at the root."""
    found = [member for member in archive.members if _is_nuspec(member.name)]
    if len(found) != 1:
        raise FormatError(f"{len(found)} files .nuspec at the root, wanted one", code="not-a-package")
    if found[0].size > MAX_NUSPEC:
        raise FormatError(f"a .nuspec of {found[0].size} bytes, at most {MAX_NUSPEC} are read", code="too-large")
    try:
        return nuspec_facts(b"".join(archive.read(found[0])))
    except LimitError as problem:
        raise FormatError(problem.message, offset=found[0].header, code=problem.code) from problem


def _digests(view: View, plan: ZipPlan, edit: Edit, algorithm: str) -> tuple[str, Digest]:
    """SHA-256 of the file, and the digest of the package without what ``edit`` takes away, in one pass."""
    source, package = hashlib.sha256(), hashlib.new(algorithm)
    without = zip_splices(plan, [Edit(edit.at, edit.remove, edit.entry_at, edit.entry_remove)])

    def take_package(block: memoryview, offset: int) -> None:
        end = offset + len(block)
        edges = [(0, Splice(0, 0, b"")), *((s.offset, s) for s in without), (view.size, Splice(view.size, 0, b""))]
        for (_, before), (start, splice) in pairwise(edges):
            first, last = max(before.offset + before.remove, offset), min(start, end)
            if first < last:
                package.update(block[first - offset : last - offset])
            if splice.insert and offset <= start < end:
                package.update(splice.insert)

    one_pass(view, (take_package,), lambda block, _: source.update(block))
    return source.hexdigest(), Digest(algorithm, package.digest())


def _state(prepared: Prepared) -> NuGetState:
    state = read_state(prepared, NuGetState, NuGetFormat.name)
    if state.plan.size != prepared.source_size:
        raise bad_state("of another package")
    return state
