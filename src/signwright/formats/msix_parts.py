# SPDX-License-Identifier: Apache-2.0
"""The three XML parts of a package that signing depends on: manifest, block map, content types.

Sources: "App package manifest" and "Package block map" (Microsoft), "Open Packaging Conventions" (ECMA-376 part 2).
Elements and attributes of other namespaces are passed over, as newer packages have them beside what is read here.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from signwright.errors import FormatError, MalformedError
from signwright.model.digest import ALGORITHMS
from signwright.model.operation import Parameter
from signwright.model.strict_xml import local_names, read_xml
from signwright.model.text import check_text

#: Bytes of each part that are read.
MAX_MANIFEST, MAX_CONTENT_TYPES, MAX_BLOCK_MAP = 4 << 20, 1 << 20, 16 << 20
BLOCK_SIZE = 64 << 10

SIGNATURE = "AppxSignature.p7x"
_OVERRIDE = '<Override PartName="/AppxSignature.p7x" ContentType="application/vnd.ms-appx.signature"/>'
_CONTENT_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types "
_BLOCK_MAP = "http://schemas.microsoft.com/appx/2010/blockmap "
_METHODS = {
    "http://www.w3.org/2001/04/xmlenc#sha256": "sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384": "sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512": "sha512",
}
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_FORMS = {
    "Name": re.compile(r"[A-Za-z0-9.-]{3,50}"),
    "Version": re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){3}"),
    "Publisher": re.compile(r"[^\x00-\x1f]{1,2000}"),
}
_ARCHITECTURE = re.compile(r"[A-Za-z0-9]{1,16}")


@dataclass(slots=True)
class FileBlocks:
    """A file in the block map. ``header_size``: of its local header in the zip; ``hashes``: of its blocks of 64 KiB,
    one behind the other; ``packed``: bytes of all its blocks as packed, None where no size is said.
    """

    size: int
    header_size: int
    hashes: bytearray = field(default_factory=bytearray)
    count: int = 0
    packed: int | None = None


@dataclass(frozen=True, slots=True)
class BlockMap:
    """``files`` by name as Windows spells it."""

    algorithm: str
    files: dict[str, FileBlocks]


@dataclass(frozen=True, slots=True)
class Bundled:
    """What a bundle's manifest says of its packages: name as Windows spells it to offset and size in the bundle."""

    publisher: str
    places: dict[str, tuple[int, int]]


def identity(content: bytes, root: str = "Package") -> dict[str, Parameter]:
    """``name``, ``publisher``, ``version`` and ``architecture`` from a manifest whose root is a ``Package``, or a
    ``Bundle`` (without architecture).

    Raises `FormatError` (``bad-manifest``).
    """
    found: list[dict[str, str]] = []

    def start(path: tuple[str, ...], attributes: dict[str, str], offset: int) -> None:
        del offset
        if len(path) == 1 and local_names(path) != (root,):
            raise _bad_manifest(f"its root is no {root}")
        namespace = path[0].rpartition(" ")[0]
        if len(path) == 2 and path[1] == f"{namespace} Identity":
            found.append(attributes)

    read_xml(content, what="manifest", code="bad-manifest", start=start)
    if len(found) != 1:
        raise _bad_manifest(f"{len(found)} identities, wanted one")
    values = {name: found[0].get(name, "") for name in _FORMS}
    values["ProcessorArchitecture"] = found[0].get("ProcessorArchitecture", "neutral")
    for name, form in {**_FORMS, "ProcessorArchitecture": _ARCHITECTURE}.items():
        if not form.fullmatch(values[name]):
            raise _bad_manifest(f"{name} {values[name][:60]!r} is none")
    try:
        check_text(values["Publisher"], "Publisher")
    except MalformedError as problem:
        raise _bad_manifest(problem.message) from problem
    facts = {"name": "Name", "publisher": "Publisher", "version": "Version"}
    facts |= {"architecture": "ProcessorArchitecture"} if root == "Package" else {}
    return {fact: values[name] for fact, name in facts.items()}


def bundled_packages(content: bytes) -> Bundled:
    """From AppxBundleManifest.xml; raises `FormatError` (``bad-manifest``)."""
    places: dict[str, tuple[int, int]] = {}

    def start(path: tuple[str, ...], attributes: dict[str, str], offset: int) -> None:
        del offset
        namespace = path[0].rpartition(" ")[0]
        if path[1:] != (f"{namespace} Packages", f"{namespace} Package"):
            return
        name, at, size = (attributes.get(key, "") for key in ("FileName", "Offset", "Size"))
        if not name or name in places or not _NUMBER.fullmatch(at) or not _NUMBER.fullmatch(size):
            raise _bad_manifest(f"package {name[:60]!r} stands twice, or without name, offset or size")
        places[name] = (int(at), int(size))

    read_xml(content, what="manifest", code="bad-manifest", start=start)
    return Bundled(str(identity(content, "Bundle")["publisher"]), places)


def _bad_manifest(found: str) -> FormatError:
    return FormatError(f"manifest: {found}", code="bad-manifest")


def block_map(content: bytes) -> BlockMap:
    """Raises `FormatError` (``bad-block-map``)."""
    reading = _BlockMapReading()
    read_xml(content, what="AppxBlockMap.xml", code="bad-block-map", start=reading.start)
    return BlockMap(reading.algorithm, reading.files)


def _bad_map(found: str) -> FormatError:
    return FormatError(f"AppxBlockMap.xml: {found}", code="bad-block-map")


class _BlockMapReading:
    def __init__(self) -> None:
        self.algorithm = ""
        self.files: dict[str, FileBlocks] = {}
        self._current = FileBlocks(0, 0)

    def start(self, path: tuple[str, ...], attributes: dict[str, str], offset: int) -> None:
        del offset
        names = tuple(name.removeprefix(_BLOCK_MAP) for name in path)
        if len(path) == 1:
            method = attributes.get("HashMethod", "")
            if names != ("BlockMap",) or method not in _METHODS:
                raise _bad_map(f"its root or its HashMethod {method[:60]!r} is not known")
            self.algorithm = _METHODS[method]
        elif names == ("BlockMap", "File"):
            self._file(attributes)
        elif names == ("BlockMap", "File", "Block"):
            self._block(attributes)

    def _file(self, attributes: dict[str, str]) -> None:
        name = attributes.get("Name", "")
        if not name or name in self.files:
            raise _bad_map(f"file {name[:60]!r} stands twice, or has no name")
        self._current = FileBlocks(_number(attributes, "Size"), _number(attributes, "LfhSize"))
        self.files[name] = self._current

    def _block(self, attributes: dict[str, str]) -> None:
        try:
            value = base64.b64decode(attributes.get("Hash", ""), validate=True)
        except (binascii.Error, ValueError):
            value = b""
        if len(value) != ALGORITHMS[self.algorithm]:
            raise _bad_map(f"a block's hash is no {self.algorithm}")
        self._current.hashes += value
        if ("Size" in attributes) != (self._current.packed is not None) and self._current.count:
            raise _bad_map("of one file some blocks say their size and some do not")
        self._current.count += 1
        if "Size" in attributes:
            self._current.packed = (self._current.packed or 0) + _number(attributes, "Size")


def _number(attributes: dict[str, str], name: str) -> int:
    text = attributes.get(name, "")
    if not _NUMBER.fullmatch(text):
        raise _bad_map(f"{name} {text[:40]!r} is no number")
    return int(text)


def with_signature(content: bytes) -> bytes:
    """[Content_Types].xml with a type for the signature; as it was where it has it.

    The new element comes last; every other byte stays. `FormatError` (``bad-types``) for what does not read.
    """
    listed, end = _overrides(content)
    if len(listed) > 1 or any(kind != "application/vnd.ms-appx.signature" for kind in listed):
        raise FormatError("[Content_Types].xml: the signature's type stands twice, or is another", code="bad-types")
    if listed:
        return content
    if not content.startswith(b"</Types", end):
        raise FormatError("[Content_Types].xml: no end tag to write before", offset=end, code="bad-types")
    return content[:end] + _OVERRIDE.encode() + content[end:]


def without_signature(content: bytes) -> bytes:
    """[Content_Types].xml without the signature's type as `with_signature` writes it; any other spelling stays."""
    return content.replace(_OVERRIDE.encode(), b"", 1)


def _overrides(content: bytes) -> tuple[list[str], int]:
    """Types given to the signature, and where the root's end tag stands."""
    listed: list[str] = []
    ends: list[int] = []

    def start(path: tuple[str, ...], attributes: dict[str, str], offset: int) -> None:
        del offset
        if path[0] != f"{_CONTENT_TYPES}Types":
            raise FormatError("[Content_Types].xml: its root is not Types", code="bad-types")
        if path[1:] == (f"{_CONTENT_TYPES}Override",):
            name = attributes.get("PartName", "")
            if name.lower() == f"/{SIGNATURE}".lower():
                listed.append(attributes.get("ContentType", ""))

    def end(path: tuple[str, ...], offset: int) -> None:
        if len(path) == 1:
            ends.append(offset)

    read_xml(content, what="[Content_Types].xml", code="bad-types", start=start, end=end)
    return listed, ends[0]
