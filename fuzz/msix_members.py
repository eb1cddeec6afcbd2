# SPDX-License-Identifier: Apache-2.0
"""Block maps: a package compared with its own; and a map alone, whose first file gets another content.

What is changed reads again, and differs in nothing else for the reader.
"""

from __future__ import annotations

from urllib.parse import quote

from signwright.errors import SignwrightError
from signwright.formats.msix_members import changed_block_map, hash_blocks, pack_blocks
from signwright.formats.msix_parts import block_map
from signwright.model.view import BytesView
from signwright.readers.msix_members import check_block_map, neutral_block_map

CONTENT = BytesView(bytes(70_000))


def one_input(data: bytes) -> None:
    if data.startswith(b"PK"):
        check_block_map(BytesView(data))
        return
    found = block_map(data)
    name, row = next(iter(found.files.items()), ("", None))
    member = quote(name.replace("\\", "/"))
    if row is None or "/" in name:
        return
    packed = pack_blocks(CONTENT, found.algorithm).row(40)
    stored = hash_blocks(CONTENT, found.algorithm).row(40)
    changed = changed_block_map(data, {member: stored if row.packed is None else packed})
    try:
        assert block_map(changed).files[name].size == CONTENT.size
        assert neutral_block_map(changed, [member]) == neutral_block_map(data, [member])
        assert changed_block_map(changed, {member: stored}) == changed_block_map(data, {member: stored})
    except SignwrightError as problem:
        raise AssertionError("what was changed does not read") from problem
