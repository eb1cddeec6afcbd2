# SPDX-License-Identifier: Apache-2.0
"""JARs, WARs and EARs: a manifest with the digest of every file, a signature file with digests of the manifest, and a
CMS signature over that file, all of them members of ``META-INF``.

Source: "JAR File Specification" (Oracle), section "Signed JAR File"; what it leaves open is done as jarsigner of
Java 17 does it. Every other member keeps every byte and its place among the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from signwright.containers.zip import Member, listed_names
from signwright.errors import FormatError, LimitError, MalformedError
from signwright.formats.authenticode import check_envelope
from signwright.formats.base import MAX_BESIDE, FormatOptions, Prepared
from signwright.formats.jar_manifest import (
    NEW_MANIFEST,
    entry_section,
    main_section,
    read_sections,
    signature_file,
    without_digests,
)
from signwright.formats.jar_members import MANIFEST, HashedView, Jar, check_texts, digest_files, open_jar, read_manifest
from signwright.formats.jar_signer import Signer, signer_of
from signwright.formats.state import bad_state, patch_of, read_state
from signwright.formats.zip_patch import Edit, ZipPlan, read_directory, replacing, zip_plan, zip_splices
from signwright.formats.zip_records import NO_TIME, NewMember
from signwright.model.digest import Digest
from signwright.model.operation import Operation, Parameter, Strict
from signwright.model.patch import Patch
from signwright.model.text import check_text
from signwright.model.view import View

_CONTENT_TYPES = "[Content_Types].xml"
#: What other kinds of files that are zips are known by: Android, Windows packages.
_OTHERS = {"AndroidManifest.xml", "AppxManifest.xml", "AppxMetadata/AppxBundleManifest.xml", "extension.vsixmanifest"}
_FACTS = {
    "implementation-title": "implementation_title",
    "implementation-version": "implementation_version",
    "implementation-vendor": "implementation_vendor",
    "main-class": "main_class",
}
_MAX_FACT = 256
#: What a module file of the JDK begins with, before its zip.
_JMOD = b"JM\1\0"
#: An empty extra field of this kind in the first member is what the jar tool marks a JAR with.
_MARK = b"\xfe\xca\0\0"
_MAX_CUTS = 65
_ROOM = 1 << 10


class JarOptions(FormatOptions):
    """Options of `JarFormat`. ``signer_name``: of the new files in ``META-INF``, by default made from the
    certificate's common name; ``existing``: what happens to signatures that are there.
    """

    digest: Literal["sha256", "sha384", "sha512"] = "sha256"
    signer_name: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_-]{0,8}$")] = ""
    existing: Literal["refuse", "replace", "append"] = "refuse"


class Cut(Strict):
    """A member that goes: its bytes, and its record in the directory."""

    at: int = Field(ge=0)
    size: int = Field(ge=1)
    entry_at: int = Field(ge=0)
    entry_size: int = Field(ge=1)


class JarState(Strict):
    """What `JarFormat.embed` needs besides the tables (directory, manifest): the plan, where the new members come in,
    which ones go, the names of the new ones, and the manifest's MS-DOS time and extra field.
    """

    plan: ZipPlan
    at: int = Field(ge=0)
    entry_at: int = Field(ge=0)
    cuts: list[Cut] = Field(max_length=_MAX_CUTS)
    signer_name: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_-]{1,8}$")]
    block: Literal["RSA", "EC"]
    time: int = Field(ge=0, lt=1 << 32)
    marked: bool


class JarFormat:
    """Implements `signwright.formats.base.Format`."""

    name = "jar"
    title = "Java archive (JAR, WAR, EAR)"
    purpose = "jar"
    options: type[FormatOptions] = JarOptions
    digest_mode = False
    file_names = ("*.jar", "*.war", "*.ear")
    detached_suffix = ""
    verifiers: tuple[str, ...] = ("jarsigner", "openssl cms")

    def recognizes(self, view: View) -> bool:
        """A zip with a manifest, or with classes, a web application or an application's description."""
        try:
            names = set(listed_names(view))
        except (FormatError, LimitError):
            return False
        if names & _OTHERS or view.read(0, len(_JMOD)) == _JMOD:
            return False
        if MANIFEST in names:
            return True
        marks = ("META-INF/application.xml" in names, any(n.startswith("WEB-INF/") for n in names))
        return _CONTENT_TYPES not in names and (any(marks) or any(n.endswith(".class") for n in names))

    def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:
        """One operation, whose content is the signature file; memory is bounded by the number of members."""
        if not isinstance(options, JarOptions):
            raise FormatError(f"options of {type(options).__name__}, wanted JarOptions", code="bad-options")
        signer = signer_of(chain, options.digest, options.signer_name)
        hashed = HashedView(view)
        jar = open_jar(hashed)
        _check_existing(jar, options.existing, signer.name)
        old = read_manifest(jar, jar.manifest, view.size) if jar.manifest else NEW_MANIFEST
        facts = _facts(jar, old)
        source, manifest = _signed_manifest(hashed, jar, old, options)
        text = signature_file(manifest, options.digest)
        check_texts(jar, view.size, len(text) + len(manifest), text.count(b"\r\nName: "))
        state = _edits(view, jar, signer, replaced=options.existing == "replace")
        directory = read_directory(view, state.plan)
        if len(text) + len(directory) + len(manifest) > MAX_BESIDE - _ROOM:
            raise FormatError(
                f"manifest, signature file and directory have more than {MAX_BESIDE} bytes together", code="too-large"
            )
        return Prepared(
            format=self.name,
            source_sha256=source,
            source_size=view.size,
            operations=(Operation(template="jar", digest=str(Digest.of(text, options.digest))),),
            facts=facts,
            state=state.model_dump(mode="json"),
        ).beside(contents=(text,), tables=(directory, manifest))

    def embed(self, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
        """The new members at one place, the old ones out, and the directory."""
        state = _state(prepared)
        if len(envelopes) != 1:
            raise FormatError(f"{len(envelopes)} envelopes for one operation", code="bad-envelope")
        (text,), (directory, manifest) = prepared.contents, prepared.tables
        extra = _MARK if state.marked else b""
        stem = f"META-INF/{state.signer_name}"
        members = (
            NewMember(MANIFEST, manifest, deflate=True, time=state.time, extra=extra),
            NewMember(f"{stem}.SF", text, deflate=True),
            NewMember(f"{stem}.{state.block}", check_envelope(envelopes[0]), deflate=True),
        )
        edits = [Edit(state.at, 0, state.entry_at, 0, members)]
        edits += [Edit(cut.at, cut.size, cut.entry_at, cut.entry_size) for cut in state.cuts]
        splices = zip_splices(state.plan, edits, directory=directory)
        return patch_of(prepared.source_sha256, prepared.source_size, splices)

    def remove(self, view: View) -> Patch:
        """Without the members of signatures, whoever made them, and without the manifest's digests of entries."""
        hashed = HashedView(view)
        jar = open_jar(hashed)
        if not jar.related:
            raise FormatError("no signature in META-INF", code="not-signed")
        edits = [replacing(member) for member in jar.related]
        gone = list(jar.related)
        if jar.manifest is not None:
            old = read_manifest(jar, jar.manifest, view.size)
            new, _ = without_digests(old, {})
            if new != old:
                time, marked = _kept_headers(view, jar.manifest)
                extra = _MARK if marked else b""
                edits.append(replacing(jar.manifest, NewMember(MANIFEST, new, deflate=True, time=time, extra=extra)))
                gone.append(jar.manifest)
        plan = zip_plan(view, jar.archive, gone)
        splices = zip_splices(plan, edits, directory=read_directory(view, plan))
        hashed.begin()
        return patch_of(hashed.sha256(), view.size, splices)


def _check_existing(jar: Jar, existing: str, name: str) -> None:
    """Raise `FormatError` where signatures are there that the option, or the new one's name, does not go with."""
    if not jar.files:
        raise FormatError("no file to be signed", code="empty")
    if not jar.related or existing == "replace":
        return
    offset = jar.related[0].header
    if existing == "refuse":
        raise FormatError(
            "the file is signed already",
            offset=offset,
            code="already-signed",
            hint="option existing: replace or append",
        )
    related = {member.name.upper() for member in jar.related}
    blocks = {stem: sum(f"META-INF/{stem}.{kind}" in related for kind in ("RSA", "DSA", "EC")) for stem in jar.signers}
    if len(jar.related) != 2 * len(blocks) or set(blocks.values()) != {1} or jar.manifest is None:
        raise FormatError(
            "files of signatures in META-INF that are no pairs", offset=offset, code="incomplete-signature"
        )
    if name in blocks:
        raise FormatError(
            f"a signer named {name} is there already", offset=offset, code="same-signer", hint="option signer_name"
        )


def _signed_manifest(hashed: HashedView, jar: Jar, old: bytes, options: JarOptions) -> tuple[str, bytes]:
    """SHA-256 of the source, and the manifest with a digest of every file."""
    main_section(old)
    if jar.related and options.existing == "append":
        return _appended_manifest(hashed, jar, old, options.digest)
    source, found = digest_files(hashed, jar, dict.fromkeys(jar.files, (options.digest,)))
    digests = {name: digest for name, (digest,) in found.items()}
    manifest, placed = without_digests(old, digests)
    added = (entry_section(name, digests[name]) for name in jar.files if name not in placed)
    return source, b"".join((manifest, *added))


def _appended_manifest(hashed: HashedView, jar: Jar, old: bytes, algorithm: str) -> tuple[str, bytes]:
    """``old``, which others signed, with its bytes as they are, and behind it sections of files that have none."""
    there: dict[str, tuple[Digest, ...]] = {}
    closed = True
    for section in read_sections(old):
        closed = section.is_closed
        if section.name and section.name not in jar.files and any(header.is_digest for header in section.headers):
            raise FormatError(
                f"{section.name[:60]!r} was signed and is not there", offset=section.start, code="missing-entries"
            )
        if section.name in jar.files:
            there[section.name] = section.digests()
            if not there[section.name]:
                raise FormatError(
                    f"the manifest's section of {section.name[:60]!r} has no digest that is accepted, and a signature"
                    " that stays may cover it",
                    offset=section.start,
                    code="manifest-section",
                    hint="option existing: replace",
                )
    wanted = {name: tuple(d.algorithm for d in there[name]) if name in there else (algorithm,) for name in jar.files}
    source, found = digest_files(hashed, jar, wanted)
    for name, digests in there.items():
        if found[name] != digests:
            raise FormatError(
                f"{name[:60]!r} is not what the existing signature is of", offset=jar.files[name].header, code="digest"
            )
    added = b"".join(entry_section(name, found[name][0]) for name in jar.files if name not in there)
    if added and not closed:
        raise FormatError("the manifest does not end with an empty line", offset=len(old), code="manifest-end")
    return source, old + added


def _edits(view: View, jar: Jar, signer: Signer, *, replaced: bool) -> JarState:
    gone = [*(jar.related if replaced else ()), *([jar.manifest] if jar.manifest else ())]
    time, marked = _kept_headers(view, jar.manifest) if jar.manifest else (NO_TIME, False)
    at, entry_at = jar.first_place()
    cuts = [Cut(at=m.header, size=m.end - m.header, entry_at=m.entry, entry_size=m.entry_size) for m in gone]
    plan = zip_plan(view, jar.archive, gone)
    return JarState(
        plan=plan,
        at=at,
        entry_at=entry_at,
        cuts=cuts,
        signer_name=signer.name,
        block=signer.block,
        time=time,
        marked=marked,
    )


def _kept_headers(view: View, member: Member) -> tuple[int, bool]:
    """Time and date of a member as they stand in its record, and whether its local header has the jar tool's mark."""
    time = int.from_bytes(view.read(member.entry + 12, 4), "little")
    sizes = view.read(member.header + 26, 4)
    names, extras = int.from_bytes(sizes[:2], "little"), int.from_bytes(sizes[2:], "little")
    return time, view.read(member.header + 30 + names, extras).startswith(_MARK)


def _facts(jar: Jar, manifest: bytes) -> dict[str, Parameter]:
    main = main_section(manifest)
    facts: dict[str, Parameter] = {
        "entries": len(jar.files),
        "multi_release": (main.value("multi-release") or "").lower() == "true",
        "signed_before": bool(jar.related),
        "kind": _kind(jar),
    }
    for name, fact in _FACTS.items():
        text = main.value(name)
        if text:
            try:
                facts[fact] = check_text(text, fact)
            except MalformedError as problem:
                raise FormatError(problem.message, code=problem.code) from problem
            if len(text) > _MAX_FACT:
                raise FormatError(f"{fact} of {len(text)} characters, at most {_MAX_FACT}", code="too-large")
    return facts


def _kind(jar: Jar) -> str:
    if "META-INF/application.xml" in jar.files:
        return "ear"
    return "war" if any(name.startswith("WEB-INF/") for name in jar.files) else "jar"


def _state(prepared: Prepared) -> JarState:
    """The state as it came back from another process, with what came beside it."""
    state = read_state(prepared, JarState, JarFormat.name)
    if state.plan.size != prepared.source_size:
        raise bad_state("of another file")
    if len(prepared.contents) != 1 or len(prepared.tables) != 2 or len(prepared.operations) != 1:
        raise bad_state("not what belongs beside it")
    algorithm = prepared.operations[0].content_digest.algorithm
    if signature_file(prepared.tables[1], algorithm) != prepared.contents[0]:
        raise bad_state("signature file of another manifest")
    return state
