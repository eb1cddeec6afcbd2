# SPDX-License-Identifier: Apache-2.0
"""The version of a PE (resource RT_VERSION, structure VS_VERSIONINFO) as facts for policies.

Sources: "PE Format", section ".rsrc"; "VS_VERSIONINFO structure" and "VerQueryValue function" (Win32 API reference).

A wrong product name must be refusable, so nothing is repaired and nothing chosen here. Windows asks for resource number
1, in a language that depends on who asks, and finds keys whatever their case. What could be read in two ways, what
cannot be read, and text that must not be shown, give the one fact ``version_info: unreadable``, and a policy that wants
a product name does not get one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from signwright.errors import FormatError
from signwright.formats.pe_layout import Layout
from signwright.model.operation import Parameter
from signwright.model.text import first_bad_character
from signwright.model.view import View

_RT_VERSION = 16
_SUBDIRECTORY = 0x80000000
_MAX_ENTRIES = 512
_MAX_INFO = 64 << 10
_MAX_VALUE = 512

_LOADER_UNIT = 512
_FIXED_SIZE, _FIXED_MARK = 52, 0xFEEF04BD

_WANTED = {
    "companyname": "company_name",
    "productname": "product_name",
    "productversion": "product_version",
    "fileversion": "file_version",
    "originalfilename": "original_filename",
}


def version_facts(view: View, layout: Layout) -> dict[str, Parameter]:
    """Company, product, versions and original name where the file has them as strings; ``fixed_file_version`` and
    ``fixed_product_version`` (``1.2.3.4``) where it has the numbers. See above for what cannot be read.
    """
    if 0 in layout.resource:
        return {}
    try:
        info = _version_resource(view, layout)
        return {} if info is None else _facts(info)
    except (FormatError, struct.error, UnicodeDecodeError, ValueError):
        return {"version_info": "unreadable"}


def _version_resource(view: View, layout: Layout) -> bytes | None:
    """The three levels of the resource tree are type, name and language; of the last two there is to be one each."""
    if any(section.offset % _LOADER_UNIT for section in layout.sections if section.size):
        raise FormatError(f"a section does not begin at a multiple of {_LOADER_UNIT}, the loader reads another place")
    address = layout.resource[0]
    at = dict(_directory(view, layout, address)).get(_RT_VERSION)
    if at is None:
        return None
    for wanted in (1, None):
        if not at & _SUBDIRECTORY:
            raise FormatError("resource tree is not three levels deep")
        entries = list(_directory(view, layout, address + (at & ~_SUBDIRECTORY)))
        if len(entries) != 1 or entries[0][0] & _SUBDIRECTORY or wanted not in (None, entries[0][0]):
            raise FormatError("wanted one version resource, number 1, in one language")
        at = entries[0][1]
    if at & _SUBDIRECTORY:
        raise FormatError("resource tree is deeper than three levels")
    found, size = struct.unpack("<II", view.read(layout.file_offset(address + at, 16), 8))
    if size > _MAX_INFO:
        raise FormatError(f"version resource of {size} bytes")
    return view.read(layout.file_offset(found, size), size)


def _directory(view: View, layout: Layout, address: int) -> list[tuple[int, int]]:
    """Entries (number, or name with its highest bit set; target) of IMAGE_RESOURCE_DIRECTORY: first the named ones,
    then numbers in ascending order, which Windows bisects.
    """
    head = view.read(layout.file_offset(address, 16), 16)
    named, numbered = struct.unpack("<HH", head[12:])
    if named + numbered > _MAX_ENTRIES:
        raise FormatError(f"resource directory with {named + numbered} entries")
    size = 8 * (named + numbered)
    rows = list(struct.iter_unpack("<II", view.read(layout.file_offset(address + 16, size), size)))
    numbers = [name for name, _ in rows[named:]]
    if any(not name & _SUBDIRECTORY for name, _ in rows[:named]) or numbers != sorted(set(numbers)):
        raise FormatError("resource directory is not in order")
    if any(number & _SUBDIRECTORY for number in numbers):
        raise FormatError("resource directory has a name among its numbers")
    return rows


def _facts(info: bytes) -> dict[str, Parameter]:
    root = next(_children(info), b"")
    name, value_size, content = _node(root)
    if name != "VS_VERSION_INFO":
        raise FormatError("version resource of an unknown kind")
    blocks = [_node(block) for block in _children(content[-(-value_size // 4) * 4 :])]
    strings = [block for name, _, block in blocks if _folded(name) == "stringfileinfo"]
    tables = [_node(table)[2] for block in strings for table in _children(block)]
    if len(strings) > 1 or len(tables) > 1:
        raise FormatError("version strings in several tables")
    return {**_fixed(content[:value_size]), **(_strings(tables[0]) if tables else {})}


def _fixed(value: bytes) -> dict[str, Parameter]:
    """The versions in VS_FIXEDFILEINFO; none in a resource without it."""
    if not value:
        return {}
    if len(value) != _FIXED_SIZE:
        raise FormatError(f"VS_FIXEDFILEINFO of {len(value)} bytes")
    mark, _, *versions = struct.unpack_from("<IIIIII", value)
    if mark != _FIXED_MARK:
        raise FormatError("VS_FIXEDFILEINFO without its mark")
    pieces = [str(part) for number in versions for part in (number >> 16, number & 0xFFFF)]
    return {"fixed_file_version": ".".join(pieces[:4]), "fixed_product_version": ".".join(pieces[4:])}


def _strings(table: bytes) -> dict[str, Parameter]:
    facts: dict[str, Parameter] = {}
    seen: set[str] = set()
    for row in _children(table):
        key, value_size, content = _node(row)
        folded = _folded(key)
        if folded in seen:
            raise FormatError(f"version string {key!r} stands there twice")
        seen.add(folded)
        if folded not in _WANTED:
            continue
        value = content.decode("utf-16-le").split("\0", 1)[0]
        if len(value.encode("utf-16-le")) > 2 * value_size:
            raise FormatError(f"version string {key} is longer than it says")
        value = value.strip(" ")
        if len(value) > _MAX_VALUE or first_bad_character(value) is not None:
            raise FormatError(f"version string {key} is not fit to be shown")
        if value:
            facts[_WANTED[folded]] = value
    return facts


def _folded(key: str) -> str:
    """Equal for keys that are equal under any rule for case; `FormatError` for one that only some rules find."""
    folded = key.upper().casefold()
    if folded in (*_WANTED, "stringfileinfo") and not key.isascii():
        raise FormatError(f"version key {key!r}: some find it under an ASCII name")
    return folded


def _node(node: bytes) -> tuple[str, int, bytes]:
    """Key, size of the value, and what follows the key, of one VS_VERSIONINFO node (its length cuts it already)."""
    _, value_size, _ = struct.unpack_from("<HHH", node)
    end = 6
    while node[end : end + 2] != b"\0\0":
        if end >= len(node):
            raise FormatError("version node without a key")
        end += 2
    return node[6:end].decode("utf-16-le"), value_size, node[-(-(end + 2) // 4) * 4 :]


def _children(content: bytes) -> Iterator[bytes]:
    at = 0
    while at + 6 <= len(content):
        length = int.from_bytes(content[at : at + 2], "little")
        if length < 6 or at + length > len(content):
            raise FormatError("version node is longer than its parent")
        yield content[at : at + length]
        at += -(-length // 4) * 4
