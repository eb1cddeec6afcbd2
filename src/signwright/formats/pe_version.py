# SPDX-License-Identifier: Apache-2.0
"""The version strings of a PE (resource RT_VERSION, structure VS_VERSIONINFO) as facts for policies.

A wrong product name must be refusable, so nothing is repaired here: strings that cannot be read, or that must not stand
in signed text, give the one fact ``version_info: unreadable``, and a policy that wants a product name does not get one.
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

_WANTED = {
    "CompanyName": "company_name",
    "ProductName": "product_name",
    "ProductVersion": "product_version",
    "FileVersion": "file_version",
    "OriginalFilename": "original_filename",
}


def version_facts(view: View, layout: Layout) -> dict[str, Parameter]:
    """Company, product, versions and original name where the file has them; see above for what cannot be read."""
    if 0 in layout.resource:
        return {}
    try:
        info = _version_resource(view, layout)
        return {} if info is None else _strings(info)
    except (FormatError, struct.error, UnicodeDecodeError, ValueError):
        return {"version_info": "unreadable"}


def _version_resource(view: View, layout: Layout) -> bytes | None:
    """The three levels of the resource tree are type, name and language; the first of each of the last two is taken."""
    address = layout.resource[0]
    entries = list(_directory(view, layout, address))
    at = next((target for name, target in entries if name == _RT_VERSION), None)
    if at is None:
        return None
    for _ in range(2):
        if not at & _SUBDIRECTORY:
            raise FormatError("resource tree is not three levels deep")
        _, at = next(_directory(view, layout, address + (at & ~_SUBDIRECTORY)), (0, None))
        if at is None:
            raise FormatError("resource directory without entries")
    if at & _SUBDIRECTORY:
        raise FormatError("resource tree is deeper than three levels")
    found, size = struct.unpack("<II", view.read(layout.file_offset(address + at, 16), 8))
    if size > _MAX_INFO:
        raise FormatError(f"version resource of {size} bytes")
    return view.read(layout.file_offset(found, size), size)


def _directory(view: View, layout: Layout, address: int) -> Iterator[tuple[int, int]]:
    """Entries (name or number, target) of IMAGE_RESOURCE_DIRECTORY."""
    head = view.read(layout.file_offset(address, 16), 16)
    count = sum(struct.unpack("<HH", head[12:]))
    if count > _MAX_ENTRIES:
        raise FormatError(f"resource directory with {count} entries")
    rows = view.read(layout.file_offset(address + 16, 8 * count), 8 * count)
    yield from struct.iter_unpack("<II", rows)


def _strings(info: bytes) -> dict[str, Parameter]:
    facts: dict[str, Parameter] = {}
    _, value_size, root = _node(info)
    for block in _children(root[-(-value_size // 4) * 4 :]):
        name, _, tables = _node(block)
        if name != "StringFileInfo":
            continue
        for table in _children(tables):
            for row in _children(_node(table)[2]):
                key, _, content = _node(row)
                value = content.decode("utf-16-le").split("\0", 1)[0].strip(" ")
                if key not in _WANTED or not value:
                    continue
                if len(value) > _MAX_VALUE or first_bad_character(value) is not None:
                    raise FormatError(f"version string {key} is not fit to be shown")
                if facts.setdefault(_WANTED[key], value) != value:
                    raise FormatError(f"version string {key} differs between languages")
    return facts


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
