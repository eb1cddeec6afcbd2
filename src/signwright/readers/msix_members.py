# SPDX-License-Identifier: Apache-2.0
"""Whether a package's block map is that of its members, and what of a block map stays when members are signed.

Written from "Package block map" (Microsoft) and what its packager writes; no writer's code. A file stands in the map in
blocks of 64 KiB, each with its hash and, of a deflated file, the number of bytes it is packed in. Every packed block
has to unpack by itself, and to end where the next one begins: so a reader that goes from block to block and one that
unpacks the file as a whole get the same. ``FileHash`` (in three namespaces, by the packager's age) is of all of it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from signwright.errors import FormatError, VerificationError
from signwright.model.digest import ALGORITHMS
from signwright.model.strict_xml import read_xml
from signwright.model.view import View, blocks
from signwright.readers.authenticode import shown
from signwright.readers.msix_zip import read_archive
from signwright.readers.zip import Entry, read_entry

MAX_MAP = 16 << 20
BLOCK = 64 << 10
#: Unpacked bytes of all members: so many times the package's size, and a floor.
RATIO, RATIO_FLOOR = 100, 1 << 20
MAP = "AppxBlockMap.xml"
_BUNDLE = "appxmetadata\\appxbundlemanifest.xml"
#: Names of the parts that stand in no block map, as the zip has them.
_PARTS = (b"[Content_Types].xml", MAP.encode(), b"AppxMetadata/CodeIntegrity.cat", b"AppxSignature.p7x")
_NOT_MAPPED = {part.decode().replace("/", "\\").casefold(): part for part in _PARTS}

_SPACE = "http://schemas.microsoft.com/appx/2010/blockmap "
_ROOT, _FILE, _BLOCK = (f"{_SPACE}{name}" for name in ("BlockMap", "File", "Block"))
_FILE_HASHES = {f"http://schemas.microsoft.com/appx/{year}/blockmap FileHash" for year in (2015, 2017, 2021)}
_METHODS = {
    "http://www.w3.org/2001/04/xmlenc#sha256": "sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384": "sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512": "sha512",
}
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_NAMESPACE = re.compile(rb"\sxmlns[\s:=]")
_STEP = 1 << 18
#: An empty last block of a deflate stream (RFC 1951, 3.2.6).
_STREAM_END = b"\3\0"


def check_block_map(view: View) -> None:
    """Every member of a package, signed or not, is what the block map says, and that says nothing else. One pass.

    `VerificationError` (``block-map``) for the first difference; `FormatError` for a package or a block map that cannot
    be read in one way alone, and for a bundle (``bundle-members``).
    """
    archive = read_archive(view)
    members = _by_name(archive.entries)
    entry = members.get(MAP)
    if entry is None:
        raise FormatError("the package has no block map", code="not-a-package")
    if entry.size > MAX_MAP:
        raise FormatError(f"a block map of {entry.size} bytes", offset=entry.local, code="too-large")
    unpacked = sum(entry.size for entry in archive.entries)
    if unpacked > RATIO_FLOOR and unpacked > RATIO * view.size:
        raise FormatError(f"members of {unpacked} bytes in {view.size}", code="archive-ratio")
    found = _Map(most=len(members))
    found.read(b"".join(read_entry(view, entry)))
    for name, member in members.items():
        if name.casefold() not in _NOT_MAPPED:
            row = found.files.pop(name, None)
            if row is None:
                raise _differs(member, "it is not listed")
            _check_member(view, member, row, found)
    if found.files:
        raise VerificationError(
            f"the block map lists {shown(min(found.files))}, which the package does not have", code="block-map"
        )


def neutral_block_map(text: bytes, changed: Collection[str]) -> bytes:
    """What of a block map stays the same when the members ``changed``, by names as in the zip, get another content.

    Of their rows the name alone counts; of everything else each byte does. Each part has its kind and length before it,
    so that two block maps give the same bytes only if they are the same but for these rows. Raises `FormatError`, also
    where such a row has more in it than sizes and hashes.
    """
    if len(text) > MAX_MAP:
        raise FormatError(f"a block map of {len(text)} bytes", code="too-large")
    rows = _Rows(text, {_name(member.encode(errors="surrogatepass"), 0) for member in changed})
    out, at = [], 0
    for name, start, end in rows.read():
        label = name.encode()
        out += [b"bytes %d\n" % (start - at), text[at:start], b"file %d\n" % len(label), label]
        at = end
    return b"".join((*out, b"bytes %d\n" % (len(text) - at), text[at:]))


def _by_name(entries: Collection[Entry]) -> dict[str, Entry]:
    """Members in their order by the names that Windows gives them; folders left out."""
    found: dict[str, Entry] = {}
    seen: set[str] = set()
    for entry in entries:
        name = _name(entry.name, entry.local)
        folded = name.casefold()
        if folded in seen or _NOT_MAPPED.get(folded, entry.name) != entry.name:
            raise FormatError(
                f"{shown(name)} is spelt in another way, or is there twice for Windows",
                offset=entry.local,
                code="ambiguous-member",
            )
        if folded == _BUNDLE:
            raise FormatError(
                "a bundle, in which no member is signed",
                code="bundle-members",
                hint="sign the packages before they are bundled",
            )
        seen.add(folded)
        if not (name.endswith("\\") and entry.size == 0):
            found[name] = entry
    return found


def _name(raw: bytes, offset: int) -> str:
    """As the block map has it. `FormatError` for a name that could be taken for another one."""
    text = unquote_to_bytes(raw)
    if not raw.isascii() or b"\\" in text or text.count(b"/") != raw.count(b"/"):
        raise FormatError("zip: a name not in ASCII, or with an escaped separator", offset=offset, code="zip-name")
    try:
        return text.decode().replace("/", "\\")
    except UnicodeDecodeError:
        raise FormatError("zip: a name that is not in UTF-8", offset=offset, code="zip-name") from None


def _bad(found: str, offset: int = 0) -> FormatError:
    return FormatError(f"AppxBlockMap.xml: {found}", offset=offset, code="bad-block-map")


def _differs(member: Entry, found: str) -> VerificationError:
    name = shown(member.name.decode("ascii", "replace"))
    return VerificationError(f"{name} is not what the block map says: {found}", code="block-map")


@dataclass(slots=True)
class _File:
    """A row: ``header``: size of the local header; ``first``: number of its first block; ``whole``: its FileHash."""

    size: int
    header: int
    first: int
    count: int = 0
    whole: bytes | None = None


class _Map:
    """A whole block map, every element and attribute of it known. ``sizes``: of the blocks as packed, 0 where none is
    said; ``hashes``: one behind the other. ``most``: files that are read.
    """

    def __init__(self, most: int) -> None:
        self.algorithm = ""
        self.files: dict[str, _File] = {}
        self.sizes = array("Q")
        self.hashes = bytearray()
        self._most = most
        self._current = _File(0, 0, 0)

    def read(self, content: bytes) -> None:
        """Raises `FormatError`."""
        read_xml(content, what=MAP, code="bad-block-map", start=self._start, text=_check_blank)

    def block_hash(self, number: int) -> bytes:
        width = ALGORITHMS[self.algorithm]
        return bytes(self.hashes[number * width : (number + 1) * width])

    def _start(self, path: tuple[str, ...], attributes: dict[str, str], offset: int) -> None:
        if path == (_ROOT,):
            method = attributes.get("HashMethod", "")
            if method not in _METHODS:
                raise _bad(f"HashMethod {method[:60]!a} is not known", offset)
            self.algorithm = _METHODS[method]
        elif path == (_ROOT, _FILE):
            self._file(attributes, offset)
        elif len(path) == 3 and path[1] == _FILE and path[2] == _BLOCK:
            self._block(attributes, offset)
        elif len(path) == 3 and path[1] == _FILE and path[2] in _FILE_HASHES:
            if self._current.whole is not None or set(attributes) != {"Hash"}:
                raise _bad("a file with two hashes, or one with more attributes", offset)
            self._current.whole = self._hash(attributes, offset)
        else:
            raise _bad("an element that is not known", offset)

    def _file(self, attributes: dict[str, str], offset: int) -> None:
        if set(attributes) != {"Name", "Size", "LfhSize"}:
            raise _bad("a file without its attributes, or with others", offset)
        name = attributes["Name"]
        if name in self.files or len(self.files) >= self._most:
            raise _bad(f"file {name[:60]!a} stands twice, or more files than the package has", offset)
        numbers = _number(attributes["Size"], offset), _number(attributes["LfhSize"], offset)
        self._current = self.files[name] = _File(*numbers, first=len(self.sizes))

    def _block(self, attributes: dict[str, str], offset: int) -> None:
        if not {"Hash"} <= set(attributes) <= {"Hash", "Size"} or self._current.whole is not None:
            raise _bad("a block with other attributes, or behind the hash of its file", offset)
        size = _number(attributes["Size"], offset) if "Size" in attributes else 0
        if "Size" in attributes and not size:
            raise _bad("a block that is packed in no byte", offset)
        self.hashes += self._hash(attributes, offset)
        self.sizes.append(size)
        self._current.count += 1

    def _hash(self, attributes: dict[str, str], offset: int) -> bytes:
        text = attributes["Hash"]
        try:
            value = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            value = b""
        if len(value) != ALGORITHMS[self.algorithm] or base64.b64encode(value).decode() != text:
            raise _bad(f"a hash that is no {self.algorithm}", offset)
        return value


def _check_blank(text: str) -> None:
    if text.strip(" \t\r\n"):
        raise _bad("text between the elements")


def _number(text: str, offset: int) -> int:
    if not _NUMBER.fullmatch(text):
        raise _bad(f"{text[:40]!a} is no number", offset)
    return int(text)


def _check_member(view: View, member: Entry, row: _File, found: _Map) -> None:
    """Sizes, and every block. Raises `VerificationError`."""
    if (row.size, row.header) != (member.size, member.data - member.local):
        raise _differs(member, "Size or LfhSize differ")
    if row.count != -(-row.size // BLOCK):
        raise _differs(member, f"{row.count} blocks for {row.size} bytes")
    sizes = found.sizes[row.first : row.first + row.count]
    packed = sum(sizes)
    if member.method == 0:
        fits = packed == 0 and member.packed == member.size
    else:
        fits = all(sizes) and member.packed - packed in (0, len(_STREAM_END))
    if not fits:
        raise _differs(member, "the sizes of its blocks are not those of its packed bytes")
    crc, whole = 0, hashlib.new(found.algorithm)
    content = _unpacked(view, member, sizes) if member.method else blocks(view, member.data, member.size, BLOCK)
    for number, block in enumerate(content):
        if hashlib.new(found.algorithm, block).digest() != found.block_hash(row.first + number):
            raise _differs(member, f"its block {number + 1} has another hash")
        crc = zlib.crc32(block, crc)
        if row.whole is not None:
            whole.update(block)
    if crc != member.crc:
        raise _differs(member, "its zip checksum differs")
    if row.whole is not None and whole.digest() != row.whole:
        raise _differs(member, "the hash of the whole file differs")


def _unpacked(view: View, member: Entry, sizes: array[int]) -> Iterator[bytes]:
    """The blocks of a deflated member, each unpacked by itself."""
    at, left = member.data, member.size
    tail = view.read(at + sum(sizes), member.packed - sum(sizes))
    for number, size in enumerate(sizes, 1):
        wanted = min(BLOCK, left)
        engine = zlib.decompressobj(-zlib.MAX_WBITS)
        content = bytearray()
        try:
            for piece in blocks(view, at, size, _STEP):
                content += engine.decompress(piece, wanted + 1 - len(content))
                if len(content) > wanted or engine.unused_data:
                    raise _differs(member, f"its packed block {number} holds more than its content")
            ended = engine.eof
            rest = b"" if ended else engine.decompress(_STREAM_END, 1)
        except zlib.error as problem:
            raise _differs(member, f"its packed block {number} does not unpack by itself") from problem
        # Two bytes that end a stream do so only where a block has ended, at the border of a byte.
        if len(content) != wanted or rest or not engine.eof or engine.unused_data:
            raise _differs(member, f"its packed block {number} does not end where it should")
        if ended != (number == len(sizes) and not tail):
            raise _differs(member, f"its packed block {number} ends the file, or the last one does not")
        yield bytes(content)
        at, left = at + size, left - wanted
    if tail not in (b"", _STREAM_END) or (not sizes and not tail):
        raise _differs(member, "its packed bytes have another end")


class _Rows:
    """Where the rows of ``names`` stand in a block map."""

    def __init__(self, text: bytes, names: Collection[str]) -> None:
        self._text, self._names = text, names
        self._found: list[tuple[str, int, int]] = []
        self._open: tuple[str, int] | None = None
        self._children = 0

    def read(self) -> list[tuple[str, int, int]]:
        """Name, and offsets from the start tag to behind the end. Raises `FormatError`."""
        read_xml(self._text, what=MAP, code="bad-block-map", start=self._start, end=self._end, text=self._blank)
        names = {name for name, _, _ in self._found}
        if names != set(self._names) or len(names) != len(self._found):
            raise _bad("a file that was changed is not listed once")
        for _, start, end in self._found:
            row = self._text[start:end]
            if b"<!" in row or b"<?" in row or b"&" in row or _NAMESPACE.search(row):
                raise _bad("a comment, an entity or a namespace in a file that was changed", start)
        return self._found

    def _start(self, path: tuple[str, ...], attributes: dict[str, str], offset: int) -> None:
        if self._open is not None:
            known = {_BLOCK: {"Hash", "Size"}} | {name: {"Hash"} for name in _FILE_HASHES}
            if len(path) != 3 or path[2] not in known or not set(attributes) <= known[path[2]]:
                raise _bad("an element in a file that was changed is not known, or has other attributes", offset)
            self._children += 1
        elif path == (_ROOT, _FILE) and attributes.get("Name") in self._names:
            if set(attributes) != {"Name", "Size", "LfhSize"}:
                raise _bad("a file that was changed has other attributes", offset)
            self._open, self._children = (attributes["Name"], offset), 0

    def _blank(self, text: str) -> None:
        if self._open is not None:
            _check_blank(text)

    def _end(self, path: tuple[str, ...], offset: int) -> None:
        if self._open is None or len(path) != 2:
            return
        # An element without an end tag ends where it is said to; nothing was in it.
        if self._children or self._text[offset - 2 : offset] != b"/>":
            offset = self._text.index(b">", offset) + 1
        self._found.append((*self._open, offset))
        self._open = None
