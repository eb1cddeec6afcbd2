# SPDX-License-Identifier: Apache-2.0
"""Reader of plain zips whose members are signed; the zip itself is not. Shares nothing with the writer.

A member is opened where its name or its first bytes say which kind it is: scripts, packages and catalogs by the suffix
of the name, programs, cabinets and installers by their first bytes. An archive in the archive (``.zip``) is opened
likewise. Everything else is opaque: of it counts that no byte of it changes.

*Not* covered by the signatures that are found: everything about the archive, which members it has, and all members
that are not signed. What signing may change of it, the strip test tells (`signwright.readers.member_strip`).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from signwright.errors import FormatError, VerificationError
from signwright.model.text import first_bad_character
from signwright.model.view import FileView, View, Window, blocks
from signwright.readers import member_strip, msix_members
from signwright.readers import zip as archives
from signwright.readers.base import FoundSignature, Reader, Reading, Stripper
from signwright.readers.zip import Archive, Entry

#: Bytes of a deflated member that is opened, unpacked into memory; a stored one is read where it stands.
MAX_UNPACKED = 64 << 20
#: Archives within archives.
MAX_DEPTH = 4
MAX_SIGNATURES = 10_000
MAX_PATH = 1024
MAX_WARNINGS = 20

_LONGEST_WARNING, _LONGEST_NAME = 500, 200
#: All that is unpacked, of all members together: so many times the size of the file, and a floor. Less of scripts,
#: whose every line is looked at.
_RATIO, _RATIO_FLOOR = 100, 128 << 20
_SCRIPT_RATIO, _SCRIPT_FLOOR = 20, 8 << 20
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1
_ZIP = "zip"
_ZIP_MARKS = (b"PK\3\4", b"PK\5\6")
_SUFFIXES = {
    "powershell": ("ps1", "psm1", "psd1", "ps1xml", "psc1", "cdxml", "mof"),
    "vbscript": ("vbs",),
    "jscript": ("js",),
    "wsf": ("wsf",),
    "jar": ("jar", "war", "ear"),
    "nuget": ("nupkg", "snupkg"),
    "msix": ("msix", "appx", "msixbundle", "appxbundle"),
    "catalog": ("cat",),
}
_BY_SUFFIX = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes}
_BY_HEAD = {b"MZ": "pe", b"MSCF": "cab", bytes.fromhex("d0cf11e0a1b11ae1"): "msi"}
_HEAD = 8
#: Kinds whose first bytes are those of other files as well: their reader is asked whether it is one.
_ASKED = {"pe", "msi"}
_SCRIPTS = {"powershell", "vbscript", "jscript", "wsf"}
#: Kinds whose readers unpack members of their own.
_UNPACKING = {"jar", "msix"}
#: The member that, beside a block map, makes a zip a package of Windows.
PACKAGE = "AppxManifest.xml"
#: Zips of these kinds are signed themselves.
_SIGNED_ZIPS = ("jar", "nuget", "msix")


def kind_of(name: str, head: Callable[[], bytes]) -> str | None:
    """What a member is read as: by the ending of its name, else by its first bytes (``head``, at least 8 where there
    are so many). Neither changes when the member is signed. None for what is not looked into.
    """
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    kind = _BY_SUFFIX.get(suffix)
    if kind is not None:
        return kind
    start = head()
    if suffix == _ZIP and start.startswith(_ZIP_MARKS):
        return _ZIP
    return next((kind for mark, kind in _BY_HEAD.items() if start.startswith(mark)), None)


class _RefusedError(FormatError):
    """The file is refused, and not only a member of it left closed."""


@dataclass(slots=True)
class _Found:
    """``more``: how many warnings there are besides."""

    signatures: list[FoundSignature] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    more: int = 0

    def warn(self, path: str, message: str) -> None:
        if len(self.warnings) == MAX_WARNINGS:
            self.more += 1
            return
        text = f"{_shown(path, _LONGEST_NAME)}: {_shown(message, _LONGEST_WARNING)}"
        self.warnings.append(text[:_LONGEST_WARNING])

    def sign(self, path: str, signatures: Iterable[FoundSignature]) -> None:
        """Signatures of the member at ``path``; raises `FormatError`."""
        for one in signatures:
            if len(path) > MAX_PATH or first_bad_character(path) is not None:
                raise _RefusedError(f"a signed member named {_shown(path, _LONGEST_NAME)}", code="name")
            if len(self.signatures) == MAX_SIGNATURES:
                raise _RefusedError(f"more than {MAX_SIGNATURES} signatures", code="too-large")
            self.signatures.append(replace(one, inner_path=path))

    def add(self, inner: _Found) -> None:
        """What was found in an archive within."""
        for one in inner.signatures:
            self.sign(one.inner_path, (one,))
        room = MAX_WARNINGS - len(self.warnings)
        self.warnings += inner.warnings[:room]
        self.more += inner.more + len(inner.warnings[room:])

    def all_warnings(self) -> tuple[str, ...]:
        return (*self.warnings, *([f"{self.more} more warnings of this kind"] if self.more else []))


class ZipReader:
    """Implements `signwright.readers.base.Reader`. ``readers``: of signatures that stand inside a file."""

    name = _ZIP

    def __init__(self, readers: Iterable[Reader]) -> None:
        self._readers = {reader.name: reader for reader in readers}

    def recognizes(self, view: View) -> bool:
        """A zip from its first byte on, of no kind that is signed itself."""
        if view.size < 4 or view.read(0, 4) not in _ZIP_MARKS:
            return False
        try:
            archives.read_archive(view, free=True)
        except FormatError:
            return False
        return not any(name in self._readers and self._readers[name].recognizes(view) for name in _SIGNED_ZIPS)

    def read(self, view: View, content: View | None = None) -> Reading:
        """The signatures of all members, in the order of the directory, each with the path of its member.

        A member that is broken, or whose signature does not hold, is opaque, and a warning names it. Raises
        `FormatError` for an archive that programs read differently, or that goes beyond the limits.
        """
        if content is not None:
            raise FormatError("members of a zip carry their signatures inside, there is no content beside it")
        found, stripped = _Walk(self._readers, view.size).archive(view)
        return Reading(self.name, tuple(found.signatures), stripped, found.all_warnings())

    def read_members(self, view: View, signed: Collection[str]) -> Reading:
        """Implements `signwright.readers.base.Keeper`. A strip digest forgives what a signature does not cover, also in
        a member that is not to be signed: of such a one every byte counts in ``kept_sha256``, as it is packed, and of
        its header. In an archive within that has a path of ``signed`` in it, that holds for each of its members.
        """
        ordered = sorted(signed)
        found, stripped = _Walk(self._readers, view.size, ordered).archive(view)
        strip = member_strip.Strip()
        _Walk(self._readers, view.size, ordered).kept(view, strip)
        return Reading(
            self.name, tuple(found.signatures), stripped, found.all_warnings(), kept_sha256=strip.hexdigest()
        )


class _Walk:
    """One reading of a file of ``size`` bytes. ``signed``: paths of the members that are signed, in order."""

    def __init__(self, readers: Mapping[str, Reader], size: int, signed: Sequence[str] = ()) -> None:
        self._readers = readers
        self._signed = signed
        #: How many bytes may still be unpacked, of all members and of scripts.
        self._left = max(_RATIO_FLOOR, _RATIO * size)
        self._left_of_scripts = max(_SCRIPT_FLOOR, _SCRIPT_RATIO * size)

    def archive(self, view: View, folder: str = "", depth: int = 0) -> tuple[_Found, str]:
        """What is found, and the strip digest (hex). ``folder``: what stands before the names in a path."""
        archive = archives.read_archive(view, free=True)
        names = member_strip.names_of(archive)
        ordered = sorted(names)
        changed = self._changed(view, names, folder)
        base = member_strip.uncounted(view, archive)
        strip, found = member_strip.opened(view, archive, base), _Found()
        for entry, name in zip(archive.entries, names, strict=True):
            kind = self._kind(view, entry, folder + name)
            if kind == _ZIP and member_strip.has_below(ordered, f"{name}/"):
                raise FormatError("zip: an archive and a folder of one name", offset=entry.local, code="name-twice")
            if changed and name == msix_members.MAP:
                member_strip.take_headers(strip, view, entry, base=base, opaque=False)
                text = self._content(view, entry, _ZIP)
                strip.take(b"block map", msix_members.neutral_block_map(text.read(0, text.size), changed))
                continue
            digest = self._opened(view, entry, folder + name, kind=kind, found=found, depth=depth)
            member_strip.take_headers(strip, view, entry, base=base, opaque=digest is None)
            if kind is None or digest is None:
                member_strip.take_opaque(strip, view, entry)
            else:
                strip.take(kind.encode(), digest.encode())
        return found, member_strip.closed(strip, view, archive)

    def kept(self, view: View, strip: member_strip.Strip, folder: str = "", depth: int = 0) -> None:
        """See `ZipReader.read_members`."""
        archive = archives.read_archive(view, free=True)
        names = member_strip.names_of(archive)
        changed = self._changed(view, names, folder)
        for entry, name in zip(archive.entries, names, strict=True):
            path = folder + name
            if changed and name == msix_members.MAP:
                continue
            if member_strip.has_below(self._signed, f"{path}/") and self._may_open(view, entry, path, depth):
                self.kept(self._content(view, entry, _ZIP), strip, f"{path}/", depth + 1)
            elif not member_strip.has(self._signed, path):
                strip.take_range(view, entry.local, entry.end)

    def _changed(self, view: View, names: Sequence[str], folder: str) -> list[str]:
        """Members of a package that are signed, or in which something is: its block map says what they are, and changes
        with them. It has to be right, before and after. None in other archives. Raises `FormatError` and
        `VerificationError`.
        """
        if not {msix_members.MAP, PACKAGE} <= set(names):
            return []
        has, has_below = member_strip.has, member_strip.has_below
        found = [n for n in names if has(self._signed, folder + n) or has_below(self._signed, f"{folder}{n}/")]
        if found:
            msix_members.check_block_map(view)
        return found

    def _may_open(self, view: View, entry: Entry, path: str, depth: int) -> bool:
        small = entry.method == _STORED or entry.size <= MAX_UNPACKED
        return depth < MAX_DEPTH and small and self._kind(view, entry, path) == _ZIP

    def _kind(self, view: View, entry: Entry, path: str) -> str | None:
        """Which reader the member has, if any. An archive in which something is signed is a zip, also where it will be
        signed itself: what it has of its own signature counts like everything else in it.
        """
        if entry.flags & _ENCRYPTED or entry.method not in (_STORED, _DEFLATED) or not entry.size or path[-1] == "/":
            return None
        kind = kind_of(path.rpartition("/")[2], lambda: _head(view, entry))
        if kind in _SIGNED_ZIPS and member_strip.has_below(self._signed, f"{path}/"):
            return _ZIP
        return kind if kind == _ZIP or kind in self._readers else None

    def _opened(
        self, view: View, entry: Entry, path: str, *, kind: str | None, found: _Found, depth: int
    ) -> str | None:
        """The member's own strip digest, its signatures added to ``found``; None when it is opaque."""
        if kind is None:
            return None
        if kind == _ZIP and depth == MAX_DEPTH:
            raise _RefusedError(f"archives in more than {MAX_DEPTH} others", offset=entry.local, code="archive-depth")
        if entry.method == _DEFLATED and entry.size > MAX_UNPACKED:
            found.warn(path, f"not opened, it unpacks to {entry.size} bytes")
            return None
        try:
            content = self._content(view, entry, kind)
            if kind != _ZIP:
                return self._read(content, path, kind=kind, found=found)
            inner, digest = self.archive(content, f"{path}/", depth + 1)
            found.add(inner)
            return digest
        except _RefusedError:
            raise
        except FormatError as problem:
            found.warn(path, f"not opened: {problem.message}")
        except VerificationError as problem:
            found.warn(path, f"its signature was not counted: {problem.message}")
        return None

    def _read(self, content: View, path: str, *, kind: str, found: _Found) -> str | None:
        reader = self._readers[kind]
        if kind in _ASKED and not reader.recognizes(content):
            return None
        if kind in _UNPACKING:
            self._charge(_unpacked_size(archives.read_archive(content, free=True)))
        try:
            reading = reader.read(content)
        except (FormatError, VerificationError):
            # An old signature that does not hold and gives way to the one that is made.
            if not isinstance(reader, Stripper) or not member_strip.has(self._signed, path):
                raise
            return reader.stripped(content)
        found.sign(path, reading.signatures)
        for warning in reading.warnings if reading.signatures else ():
            found.warn(path, warning)
        return reading.stripped_sha256

    def _content(self, view: View, entry: Entry, kind: str) -> View:
        """The unpacked bytes, compared with size and checksum of the headers; of a stored member where they stand."""
        if entry.method == _STORED:
            for _ in archives.read_entry(view, entry):
                pass
            return Window(view, entry.data, entry.packed)
        self._charge(entry.size, entry.size if kind in _SCRIPTS else 0)
        unpacked = io.BytesIO()
        for block in archives.read_entry(view, entry):
            unpacked.write(block)
        return FileView(unpacked)

    def _charge(self, size: int, script: int = 0) -> None:
        self._left -= size
        self._left_of_scripts -= script
        if self._left < 0 or self._left_of_scripts < 0:
            raise _RefusedError("members unpack to far more bytes than the file has", code="archive-ratio")


def _unpacked_size(archive: Archive) -> int:
    return sum(entry.size for entry in archive.entries)


def _head(view: View, entry: Entry) -> bytes:
    """The first unpacked bytes of a member; less where it is shorter or does not unpack."""
    if entry.method == _STORED:
        return view.read(entry.data, min(_HEAD, entry.packed))
    engine, head = zlib.decompressobj(-zlib.MAX_WBITS), b""
    try:
        for block in blocks(view, entry.data, entry.packed, 1 << 10):
            head += engine.decompress(block, _HEAD - len(head))
            if len(head) == _HEAD or engine.eof:
                break
    except zlib.error:
        pass
    return head


def _shown(text: str, longest: int) -> str:
    """Text as it may be printed, cut."""
    cut = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return cut if first_bad_character(cut) is None else ascii(cut)[:longest]
