# SPDX-License-Identifier: Apache-2.0
"""Members of a package that get another content: packed in blocks, and their rows in the block map changed.

Sources: "Package block map" (Microsoft), and what its packager writes. A file is cut into blocks of 64 KiB. Packed,
each block ends with a full flush, so that it unpacks by itself; behind the last one two bytes (03 00) end the stream,
which no block counts. A file of more than one block has a ``FileHash`` besides, in block maps that know the element.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from signwright.errors import FormatError
from signwright.formats.msix_package import BUNDLE_MANIFEST
from signwright.formats.msix_parts import BLOCK_SIZE, MAX_BLOCK_MAP, BlockMap, FileBlocks, block_map
from signwright.model.digest import ALGORITHMS
from signwright.model.strict_xml import MAX_ELEMENTS, read_xml
from signwright.model.view import View, blocks

#: A packed member is held in memory: the 64 MiB that may be looked into, and a signature.
MAX_PACKED_SIZE = 72 << 20

_MAP = "http://schemas.microsoft.com/appx/2010/blockmap "
_FILE = (f"{_MAP}BlockMap", f"{_MAP}File")
_HASHED = "http://schemas.microsoft.com/appx/2021/blockmap"
_BLOCK, _FILE_HASH = f"{_MAP}Block", f"{_HASHED} FileHash"
#: Their attributes, in the order in which they are written.
_ATTRIBUTES = {_BLOCK: ("Hash", "Size"), _FILE_HASH: ("Hash",)}
#: Blanks, and the tag behind them: closing, name, attributes, empty.
_TAG = re.compile(rb"""(\s*)<(/?)([^\s<>/"'=!?]+)((?:\s+[^\s<>/"'=]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(/?)>""")
#: All before the value, in which stands the name; the value with its quotes.
_ATTRIBUTE = re.compile(rb"""(\s+([^\s=]+)\s*=\s*)("[^"]*"|'[^']*')""")
_NAMESPACE = re.compile(rb"\sxmlns[\s:=]")


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A row of the block map as it has to be. ``header_size``: of the local header in the zip; ``hashes``: of blocks of
    64 KiB, ``whole``: of the file; ``sizes``: of the blocks as packed, None for a stored file.
    """

    size: int
    header_size: int
    hashes: tuple[bytes, ...]
    whole: bytes
    sizes: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class HashedBlocks:
    """A content's size and CRC-32, the hashes of its blocks of 64 KiB, and of all of it (``whole``)."""

    size: int
    crc: int
    hashes: tuple[bytes, ...]
    whole: bytes

    def row(self, header_size: int) -> ChangedFile:
        return ChangedFile(self.size, header_size, self.hashes, self.whole)


@dataclass(frozen=True, slots=True)
class PackedBlocks:
    """A deflated content: ``packed`` is its stream, ``sizes`` those of its blocks in that, which leave out the end."""

    hashed: HashedBlocks
    packed: bytes
    sizes: tuple[int, ...]

    def row(self, header_size: int) -> ChangedFile:
        return ChangedFile(self.hashed.size, header_size, self.hashed.hashes, self.hashed.whole, self.sizes)


class _Hashing:
    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self._whole = hashlib.new(algorithm)
        self._hashes: list[bytes] = []
        self._size = self._crc = 0

    def take(self, block: bytes) -> None:
        self._hashes.append(hashlib.new(self._algorithm, block).digest())
        self._whole.update(block)
        self._crc = zlib.crc32(block, self._crc)
        self._size += len(block)

    def done(self) -> HashedBlocks:
        return HashedBlocks(self._size, self._crc, tuple(self._hashes), self._whole.digest())


def hash_blocks(content: View, algorithm: str) -> HashedBlocks:
    """Of a member that is stored; ``algorithm``: the block map's, as `block_map` names it. Raises `FormatError`."""
    if content.size > MAX_ELEMENTS * BLOCK_SIZE:
        raise FormatError(f"{content.size} bytes, more than a block map can have blocks for", code="too-large")
    hashing = _Hashing(algorithm)
    for block in blocks(content, 0, content.size, BLOCK_SIZE):
        hashing.take(block)
    return hashing.done()


def pack_blocks(content: View, algorithm: str) -> PackedBlocks:
    """Deflate a member as the packager does; ``algorithm`` as above. Raises `FormatError`."""
    if content.size > MAX_PACKED_SIZE:
        raise FormatError(
            f"{content.size} bytes, at most {MAX_PACKED_SIZE} of a packed member are packed anew: store it",
            code="too-large",
        )
    hashing, engine = _Hashing(algorithm), zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    pieces = []
    for block in blocks(content, 0, content.size, BLOCK_SIZE):
        hashing.take(block)
        pieces.append(engine.compress(block) + engine.flush(zlib.Z_FULL_FLUSH))
    return PackedBlocks(hashing.done(), b"".join((*pieces, engine.flush())), tuple(map(len, pieces)))


def changed_block_map(text: bytes, changed: Mapping[str, ChangedFile]) -> bytes:
    """AppxBlockMap.xml with ``changed`` rows, by names as in the zip; every byte outside these elements stays.

    `FormatError`: ``bad-block-map`` for what does not read, ``odd-block-map`` for a row that cannot be changed without
    a guess, ``block-map`` for one that is not there, ``too-large``, ``bundle-members``.
    """
    if len(text) > MAX_BLOCK_MAP:
        raise FormatError(f"a block map of {len(text)} bytes", code="too-large")
    before = block_map(text)
    wanted = _by_mapped_name(changed, ALGORITHMS[before.algorithm])
    _check_names(before, wanted)
    root, places = _places(text, wanted)
    prefix = _prefix(text, root)
    children = {name: _children(place, wanted[name], can_add=prefix is not None) for name, place in places.items()}
    out, at = [], 0
    for name, place in places.items():
        element, end = _element(text, place, wanted[name], children[name], prefix)
        out += [text[at : place.start], element]
        at = end
    result = b"".join((*out, text[at:]))
    if len(result) > MAX_BLOCK_MAP:
        raise FormatError(f"the block map would have {len(result)} bytes", code="too-large")
    _check_result(before, result, wanted, children)
    return result


def _odd(found: str, offset: int = 0) -> FormatError:
    return FormatError(f"AppxBlockMap.xml: {found}", offset=offset, code="odd-block-map")


def _by_mapped_name(changed: Mapping[str, ChangedFile], width: int) -> dict[str, ChangedFile]:
    """By the name that the block map has: without escapes, and as Windows separates folders. ``width``: of hashes."""
    found: dict[str, ChangedFile] = {}
    for member, row in changed.items():
        try:
            name = unquote(member, errors="strict").replace("/", "\\")
        except UnicodeDecodeError:
            raise _odd(f"the name of {member[:80]} is not in UTF-8") from None
        count = -(-row.size // BLOCK_SIZE)
        sizes = row.sizes if row.sizes is not None else (1,) * count
        fits = len(row.hashes) == len(sizes) == count and all(size > 0 for size in sizes)
        if name in found or not fits or {len(value) for value in (*row.hashes, row.whole)} != {width}:
            raise _odd(f"{member[:80]} is changed twice, or has not one block for each 64 KiB")
        found[name] = row
    return found


def _check_names(found: BlockMap, wanted: Mapping[str, ChangedFile]) -> None:
    """Each file that changes is there, and no other one is the same for Windows."""
    bundle = BUNDLE_MANIFEST.replace("/", "\\").casefold()
    looked_for = {name.casefold() for name in wanted}
    seen: set[str] = set()
    for name in found.files:
        folded = name.casefold()
        if folded == bundle:
            raise FormatError(
                "members of a bundle cannot be signed",
                code="bundle-members",
                hint="sign the packages before they are bundled",
            )
        if folded in looked_for and folded in seen:
            raise _odd(f"file {name[:80]!r} stands twice, in letters that differ")
        seen.add(folded)
    missing = set(wanted) - set(found.files)
    if missing:
        raise FormatError(f"AppxBlockMap.xml: no file {min(missing)[:80]!r}", code="block-map")


#: Name, hash, and size as packed.
_Child = tuple[str, str, str | None]


@dataclass(slots=True)
class _Place:
    """A file that changes: offset of its start tag, and the elements in it."""

    start: int
    children: list[_Child] = field(default_factory=list)

    @property
    def block_count(self) -> int:
        return sum(name == _BLOCK for name, _, _ in self.children)

    @property
    def is_hashed(self) -> bool:
        return bool(self.children) and self.children[-1][0] == _FILE_HASH


def _places(text: bytes, names: Mapping[str, ChangedFile]) -> tuple[int, dict[str, _Place]]:
    """Where the root stands, and each of the files. Raises `FormatError` for an element or attribute in one of them
    that is not known.
    """
    found: dict[str, _Place] = {}
    current: _Place | None = None
    root = -1

    def start(path: tuple[str, ...], attributes: dict[str, str], offset: int) -> None:
        nonlocal current, root
        if len(path) <= 2:
            root = offset if len(path) == 1 else root
            name = attributes.get("Name", "") if path == _FILE else ""
            current = found.setdefault(name, _Place(offset)) if name in names else None
            if current and (current.start != offset or set(attributes) != {"Name", "Size", "LfhSize"}):
                raise _odd(f"file {name[:80]!r} stands twice, or has attributes that are not known", offset)
        elif current:
            known = _ATTRIBUTES.get(path[2], ()) if len(path) == 3 else ()
            if not known or current.is_hashed or not {"Hash"} <= set(attributes) <= set(known):
                raise _odd("an element in a file that changes is not known, or has other attributes", offset)
            current.children.append((path[2], attributes["Hash"], attributes.get("Size")))

    read_xml(text, what="AppxBlockMap.xml", code="bad-block-map", start=start)
    return root, found


def _prefix(text: bytes, root: int) -> bytes | None:
    """What the element at ``root`` calls the namespace of ``FileHash``; None where it has no name for it."""
    tag = _TAG.match(text, root)
    for one in _ATTRIBUTE.finditer(tag[4]) if tag else ():
        if one[2].startswith(b"xmlns:") and one[3][1:-1] == _HASHED.encode():
            return one[2].removeprefix(b"xmlns:")
    return None


def _element(
    text: bytes, place: _Place, row: ChangedFile, children: Sequence[_Child], prefix: bytes | None
) -> tuple[bytes, int]:
    """The element as it has to be, and the offset behind it as it is."""
    tags = _tags(text, place.start)
    if _NAMESPACE.search(text, place.start, tags.end) or text.find(b"&", place.start, tags.end) >= 0:
        raise _odd("a namespace or an entity in a file that changes", place.start)
    numbers = {b"Size": b"%d" % row.size, b"LfhSize": b"%d" % row.header_size}
    attributes = _ATTRIBUTE.sub(
        lambda one: one[1] + one[3][:1] + numbers.get(one[2], one[3][1:-1]) + one[3][:1], tags.attributes
    )
    if not children:
        return b"<%b%b/>" % (tags.name, attributes), tags.end
    family = tags.name.rpartition(b":")
    names = {_BLOCK: b"".join((*family[:2], b"Block")), _FILE_HASH: b"%b:FileHash" % (prefix or b"")}
    if place.is_hashed:
        names[_FILE_HASH] = tags.last
    body = b"".join(tags.before + _written(names[name], name, values) for name, *values in children)
    return b"<%b%b>%b%b</%b>" % (tags.name, attributes, body, tags.after, tags.name), tags.end


@dataclass(slots=True)
class _Tags:
    """Of an element: name and attributes of its start tag; blanks before the first element in it, ``before``, and
    behind the last one, ``after``, whose name is ``last``; ``end``: offset behind it.
    """

    name: bytes
    attributes: bytes
    end: int
    before: bytes = b""
    after: bytes = b""
    last: bytes = b""


def _tags(text: bytes, start: int) -> _Tags:
    """Nothing but blanks may be between the tags of the element at ``start``. Raises `FormatError`."""
    tag = _TAG.match(text, start)
    found = _Tags(tag[3], tag[4], tag.end()) if tag else _Tags(b"", b"", start)
    depth = 0 if tag and tag[5] else 1
    while tag and depth:
        tag = _TAG.match(text, found.end)
        if tag is None:
            break
        if tag[2]:
            depth -= 1
        else:
            found.before = found.before if found.last else tag[1]
            found.last = tag[3]
            depth += 0 if tag[5] else 1
        found.after, found.end = tag[1], tag.end()
    if tag is None:
        raise _odd("something other than elements in a file that changes", found.end)
    found.after = found.after if found.last else b""
    return found


def _children(place: _Place, row: ChangedFile, *, can_add: bool) -> list[_Child]:
    """The elements as they have to be. Where the file passes the size of one block, it gets or loses the hash of all
    of it as the packager would have it, else it has one if it had one.
    """
    sizes: Sequence[int | None] = row.sizes if row.sizes is not None else [None] * len(row.hashes)
    found: list[_Child] = [
        (_BLOCK, _text(value), None if size is None else str(size))
        for value, size in zip(row.hashes, sizes, strict=True)
    ]
    hashed, had_many, has_many = place.is_hashed, place.block_count > 1, len(row.hashes) > 1
    if had_many != has_many:
        hashed = has_many and (hashed or can_add)
    return [*found, (_FILE_HASH, _text(row.whole), None)] if hashed else found


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _written(tag: bytes, name: str, values: Sequence[str | None]) -> bytes:
    pairs = zip(_ATTRIBUTES[name], values, strict=False)
    return b"<%b%b/>" % (tag, "".join(f' {key}="{value}"' for key, value in pairs if value is not None).encode())


def _check_result(
    before: BlockMap, result: bytes, wanted: Mapping[str, ChangedFile], children: Mapping[str, list[_Child]]
) -> None:
    """What is written reads as what was wanted, and every other row as before."""
    after = block_map(result)
    files = dict(before.files)
    for name, row in wanted.items():
        packed = sum(row.sizes) if row.sizes else None
        files[name] = FileBlocks(row.size, row.header_size, bytearray().join(row.hashes), len(row.hashes), packed)
    found = {name: place.children for name, place in _places(result, wanted)[1].items()}
    if after != BlockMap(before.algorithm, files) or list(after.files) != list(files) or found != children:
        raise _odd("what was written does not read as what was wanted")
