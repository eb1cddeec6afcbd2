# SPDX-License-Identifier: Apache-2.0
"""Reader of signed JARs, written from the specification and sharing nothing with the writer.

Source: "JAR File Specification" (Oracle), section "Signed JAR File". A signature counts when it covers every file and
all that the manifest says; Java itself also takes one that leaves files out, or that names the main attributes nowhere.
*Not* covered by a signature: order, times and headers of the members, folders, what stands before the archive (a
warning) and its comment, unsigned attributes (timestamp tokens, which are checked on their own), and of the
certificates in the structure all but the signer's.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from signwright.errors import FormatError, VerificationError
from signwright.model.digest import ALGORITHMS, Digest
from signwright.model.view import View, blocks
from signwright.readers import cms, manifest
from signwright.readers import zip as archives
from signwright.readers.base import FoundSignature, Reading
from signwright.readers.manifest import Text
from signwright.readers.zip import Archive, Entry

MAX_SIGNERS = 16
MANIFEST = "META-INF/MANIFEST.MF"

#: Nothing is read that unpacks to more than so many times its size; a member has a floor of its own.
_RATIO, _RATIO_FLOOR, _MEMBER_FLOOR = 100, 16 << 20, 1 << 20
#: Manifest and signature files together: each digest in them packs to no less than its own bytes.
_TEXT_RATIO, _TEXT_FLOOR = 10, 1 << 20
#: Sections of a manifest that are of no member, such as those of packages.
_SPARE_SECTIONS = 4096
_UTF8 = 1 << 11
_RELATED = re.compile(r"META-INF/(?:[^/]*\.(?:SF|RSA|DSA|EC)|SIG-(?:[^/.]*|[^/]*\.[0-9A-Z]{1,3}))")
_OTHERS = {b"AndroidManifest.xml", b"AppxManifest.xml", b"AppxMetadata/AppxBundleManifest.xml"}
#: What a manifest says that was made for a JAR without one: to the strip test there is none.
_EMPTY = Text(b"Manifest-Version: 1.0\r\nCreated-By: Signwright\r\n\r\n", (0, 49), {})


@dataclass(frozen=True, slots=True)
class _Jar:
    """``members``: files and folders by name, in the order of the directory; ``pairs``: signature files with their
    blocks, by signer; ``loose``: names of members of signatures that make no pair.
    """

    archive: Archive
    text: Text | None
    members: Mapping[str, Entry]
    pairs: Mapping[str, tuple[Entry, Entry]]
    loose: tuple[str, ...]

    @property
    def files(self) -> list[str]:
        return [name for name in self.members if not name.endswith("/")]

    @property
    def most_sections(self) -> int:
        """Of the manifest and of signature files."""
        return _most_sections(self.archive)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What every signer has to cover: files, and sections of the manifest ``text`` that say more than a digest.
    ``bare``: of those files, the first that the manifest has no accepted digest of.
    """

    text: Text
    names: tuple[str, ...]
    bare: str | None

    @classmethod
    def of(cls, jar: _Jar, text: Text) -> _Wanted:
        files = jar.files
        bare = next((file for file in files if not text.digests(file)), None)
        return cls(text, (*files, *(name for name in text.sections if name in text.telling)), bare)

    def first_without(self, covered: set[str]) -> str | None:
        return self.bare if self.bare is not None else next((n for n in self.names if n not in covered), None)


class JarReader:
    """Implements `signwright.readers.base.Reader` and `signwright.readers.base.Stripper`."""

    name = "jar"

    def recognizes(self, view: View) -> bool:
        """A zip with a manifest; without one nothing is signed."""
        try:
            names = set(archives.entry_names(view, free=True))
        except FormatError:
            return False
        return MANIFEST.encode() in names and names.isdisjoint(_OTHERS)

    def stripped(self, view: View) -> str:
        """See `signwright.readers.base.Stripper`."""
        return _stripped(view, _open(view))

    def read(self, view: View, content: View | None = None) -> Reading:
        """Every signature of the file. One that leaves files out, or is of SHA-1, is a warning beside another one and
        `VerificationError` alone (``unsigned-entries``, ``weak-digest``); one that does not hold is always that.
        """
        if content is not None:
            raise FormatError("a JAR carries its signature inside, there is no content beside it")
        jar = _open(view)
        warnings = _prefix_warning(jar)
        if not jar.pairs and len({name.rpartition(".")[0] for name in jar.loose}) == len(jar.loose):
            warnings += [f"{name} belongs to no signature" for name in jar.loose]
            return Reading(self.name, (), _stripped(view, jar), tuple(warnings))
        if jar.text is None or jar.loose:
            what = jar.loose[0] if jar.loose else "the manifest, which is not there,"
            raise VerificationError(f"{what[:80]} is part of no signature", code="incomplete-signature")
        text = jar.text
        _check_nothing_missing(jar, text)
        stripped = _stripped(view, jar, lambda name, digests: _checked(text, name, digests))
        found: list[FoundSignature] = []
        problems: list[VerificationError] = []
        wanted = _Wanted.of(jar, text)
        for signer, pair in jar.pairs.items():
            try:
                found.append(_signature(view, jar, wanted, signer, pair=pair))
            except VerificationError as problem:
                if problem.code not in ("unsigned-entries", "weak-digest"):
                    raise
                problems.append(problem)
        if not found:
            raise problems[0]
        warnings += [f"{problem.message}; it was not counted" for problem in problems]
        return Reading(self.name, tuple(found), stripped, tuple(warnings))


def _open(view: View) -> _Jar:
    archive = archives.read_archive(view, free=True)
    _check_ratio(view, archive)
    members: dict[str, Entry] = {}
    related: dict[str, Entry] = {}
    main: Entry | None = None
    for entry in archive.entries:
        name = _name(entry)
        upper = name.upper()
        if upper == MANIFEST:
            if name != MANIFEST or main is not None:
                raise FormatError("two manifests, or one spelt otherwise", offset=entry.local, code="manifest-twice")
            main = entry
        elif _RELATED.fullmatch(upper):
            if upper in related:
                raise FormatError(f"two members {name[:60]!r}", offset=entry.local, code="name-twice")
            related[upper] = entry
        elif name in members:
            raise FormatError(f"two members {name[:60]!r}", offset=entry.local, code="name-twice")
        else:
            members[name] = entry
    pairs, loose = _pairs(related)
    text = _read_manifest(view, archive, main, related)
    return _Jar(archive, text, members, pairs, loose)


def _check_ratio(view: View, archive: Archive) -> None:
    """Before anything is unpacked: of each member, and of all together."""
    for entry in archive.entries:
        if entry.size > _MEMBER_FLOOR and entry.size > _RATIO * entry.packed:
            raise FormatError(
                f"a member of {entry.size} bytes in {entry.packed}", offset=entry.local, code="archive-ratio"
            )
    total = sum(entry.size for entry in archive.entries)
    if total > max(_RATIO_FLOOR, _RATIO * view.size):
        raise FormatError(f"members of {total} bytes in {view.size}", code="archive-ratio")


def _read_manifest(view: View, archive: Archive, entry: Entry | None, related: Mapping[str, Entry]) -> Text | None:
    """The manifest, if any, after it and the signature files were found not to be too large together."""
    texts = [one for name, one in related.items() if name.endswith(".SF")] + ([entry] if entry else [])
    total = sum(one.size for one in texts)
    if total > _TEXT_FLOOR + _TEXT_RATIO * view.size:
        raise FormatError(f"manifest and signature files of {total} bytes in {view.size}", code="archive-ratio")
    if entry is None:
        return None
    return manifest.read_text(_content(view, entry, manifest.MAX_TEXT), "the manifest", _most_sections(archive))


def _most_sections(archive: Archive) -> int:
    return len(archive.entries) + _SPARE_SECTIONS


def _name(entry: Entry) -> str:
    """As every reader has it; raises `FormatError` for a name that Java, or another program, changes."""
    try:
        name = entry.name.decode("utf-8" if entry.flags & _UTF8 else "ascii")
    except UnicodeDecodeError as problem:
        raise FormatError(
            "a name that is not what its flag says", offset=entry.local, code="name-encoding"
        ) from problem
    if not name or name.startswith(("/", "./")) or any(c in name for c in "\0\r\n"):
        raise FormatError(f"a member named {name[:60]!r}", offset=entry.local, code="name")
    if name.endswith("/") and entry.size:
        raise FormatError("a folder with content", offset=entry.local, code="folder-content")
    if not name.isascii() and (name.upper() == MANIFEST or _RELATED.fullmatch(name.upper())):
        raise FormatError("a name that only some readers take for one of META-INF's", offset=entry.local, code="name")
    return name


def _pairs(related: Mapping[str, Entry]) -> tuple[dict[str, tuple[Entry, Entry]], tuple[str, ...]]:
    pairs: dict[str, tuple[Entry, Entry]] = {}
    loose = dict(related)
    for name, entry in related.items():
        stem = name.removesuffix(".SF")
        found = [f"{stem}.{kind}" for kind in ("RSA", "DSA", "EC") if f"{stem}.{kind}" in related]
        if stem != name and len(found) == 1:
            pairs[stem.removeprefix("META-INF/")] = (entry, related[found[0]])
            del loose[name], loose[found[0]]
    if len(pairs) > MAX_SIGNERS:
        raise FormatError(f"{len(pairs)} signers, at most {MAX_SIGNERS} are read", code="too-large")
    return pairs, tuple(loose)


def _content(view: View, entry: Entry, most: int) -> bytes:
    if entry.size > most:
        raise FormatError(f"a member of {entry.size} bytes, at most {most}", offset=entry.local, code="too-large")
    return b"".join(archives.read_entry(view, entry))


def _prefix_warning(jar: _Jar) -> list[str]:
    before = jar.archive.start
    return [f"{before} bytes before the archive, which no signature in it covers"] if before else []


def _stripped(view: View, jar: _Jar, check: Callable[[str, Mapping[str, bytes]], None] | None = None) -> str:
    """The strip digest, in one pass over the members in the order of the directory. ``check`` gets the digests of each
    file: SHA-256, and those that the manifest has of it.
    """
    strip = hashlib.sha256(b"signwright strip test of a JAR\n")
    strip.update(jar.archive.start.to_bytes(8, "big"))
    for block in blocks(view, 0, jar.archive.start):
        strip.update(block)
    for name, entry in jar.members.items():
        listed = jar.text.digests(name) if check is not None and jar.text is not None else {}
        running = {algorithm: hashlib.new(algorithm) for algorithm in {"sha256", *listed}}
        for block in archives.read_entry(view, entry):
            for one in running.values():
                one.update(block)
        _take(strip, name.encode())
        _take(strip, running["sha256"].digest() + entry.external.to_bytes(4, "big"))
        if check is not None and not name.endswith("/"):
            check(name, {algorithm: one.digest() for algorithm, one in running.items()})
    for part in _kept(jar.text or _EMPTY):
        _take(strip, part)
    _take(strip, view.read(jar.archive.end, view.size - jar.archive.end)[22:])
    return strip.hexdigest()


def _take(strip: hashlib._Hash, part: bytes) -> None:
    strip.update(len(part).to_bytes(8, "big"))
    strip.update(part)


def _kept(text: Text) -> Iterator[bytes]:
    """The manifest without digests of entries, and without sections that then say nothing."""
    yield from _pieces(text.main_attributes())
    for name in (name for name in text.sections if name in text.telling):
        kept = {key: value for key, value in text.attributes(name).items() if not manifest.is_digest(key)}
        yield name.encode()
        yield from _pieces(kept)


def _pieces(attributes: manifest.Attributes) -> Iterator[bytes]:
    yield len(attributes).to_bytes(4, "big")
    for name, value in attributes.items():
        yield name.encode()
        yield value


def _checked(text: Text, name: str, digests: Mapping[str, bytes]) -> None:
    """The manifest's digests are those of the file ``name``."""
    for algorithm, value in text.digests(name).items():
        if not hmac.compare_digest(value, digests[algorithm]):
            raise VerificationError(f"{name[:80]!r} is not what was signed", code="digest-mismatch")


def _check_nothing_missing(jar: _Jar, text: Text) -> None:
    """No digest is of a file that is not there."""
    for name in text.sections:
        is_file = name in jar.members and not name.endswith("/")
        if not is_file and name in text.digested:
            raise VerificationError(f"{name[:80]!r} was signed and is not there", code="missing-entries")


def _signature(view: View, jar: _Jar, wanted: _Wanted, name: str, *, pair: tuple[Entry, Entry]) -> FoundSignature:
    signature_file, block = pair
    content = _content(view, signature_file, manifest.MAX_TEXT)
    signed = cms.parse(_content(view, block, cms.MAX_ENVELOPE))
    signer = signed.only_signer
    if signed.content_type != cms.DATA or signed.encapsulated is not None:
        raise VerificationError(f"signature {name} is not a detached one of a file", code="wrong-kind")
    if signer.digest_algorithm not in ALGORITHMS:
        raise VerificationError(f"signature {name} is over {signer.digest_algorithm}", code="weak-digest")
    digest = Digest.of(content, signer.digest_algorithm)
    cms.check_signer(signed, signer, digest.value)
    own = manifest.read_text(content, f"signature file {name}", jar.most_sections)
    covered = _covered(wanted.text, own, name)
    left_out = wanted.first_without(covered)
    if left_out is not None:
        raise VerificationError(
            f"signature {name} does not cover every entry, not {left_out[:80]!r}", code="unsigned-entries"
        )
    notes = {"signer": name, "entries": str(len(jar.files))}
    return cms.found_signature(
        signed, signer, format_name=JarReader.name, purpose="jar", content_digest=digest, notes=notes
    )


def _covered(text: Text, signature_file: Text, name: str) -> set[str]:
    """Names of the sections of the manifest ``text`` that the signature file speaks for; its digests must hold."""
    main = signature_file.main_attributes()
    if main.get("signature-version") != b"1.0":
        raise VerificationError(f"signature file {name} is not of version 1.0", code="wrong-kind")
    whole = manifest.digests(main, "-digest-manifest")
    part = manifest.digests(main, "-digest-manifest-main-attributes")
    if not _holds(whole, text.content):
        if not whole and not part:
            raise VerificationError(f"signature {name} has no digest that is accepted", code="weak-digest")
        if not _holds(part, text.main_bytes()):
            raise VerificationError(f"the manifest is not what signature {name} is of", code="digest-mismatch")
    for entry in signature_file.sections:
        if entry not in text.sections:
            raise VerificationError(
                f"{entry[:80]!r} is signed by {name} and not in the manifest", code="missing-entries"
            )
        values = manifest.digests(signature_file.attributes(entry))
        if not values:
            raise VerificationError(f"signature {name} has no digest that is accepted", code="weak-digest")
        if not _holds(values, text.section_bytes(entry)):
            raise VerificationError(f"section {entry[:80]!r} is not what {name} signed", code="digest-mismatch")
    return set(signature_file.sections)


def _holds(values: Mapping[str, bytes], content: bytes) -> bool:
    """Whether there is a digest, and every one is that of ``content``."""
    return bool(values) and all(
        hmac.compare_digest(value, hashlib.new(algorithm, content).digest()) for algorithm, value in values.items()
    )
