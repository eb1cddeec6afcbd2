# SPDX-License-Identifier: Apache-2.0
"""The strong name of a .NET assembly as a fact for policies (ECMA-335, II.25.3.3: CLI header).

A strong name is computed over the file without CheckSum, security directory entry and certificate table, so that it has
to be there before Authenticode covers it. An assembly that is still delay-signed can be told from one that is done.
"""

from __future__ import annotations

import struct

from signwright.errors import FormatError
from signwright.formats.pe_layout import Layout
from signwright.model.operation import Parameter
from signwright.model.view import View

_HEADER_SIZE = 72
_STRONG_NAME_SIGNED = 0x8


def clr_facts(view: View, layout: Layout) -> dict[str, Parameter]:
    """``strong_name``: ``none``, ``signed``, ``delay-signed`` or ``unreadable``; nothing for what is no assembly."""
    address, size = layout.clr
    if not address or not size:
        return {}
    try:
        header = view.read(layout.file_offset(address, _HEADER_SIZE), _HEADER_SIZE)
    except FormatError:
        return {"strong_name": "unreadable"}
    length, flags, place, room = struct.unpack_from("<I12xI12xII", header)
    if length < _HEADER_SIZE or size < _HEADER_SIZE:
        return {"strong_name": "unreadable"}
    if not place or not room:
        return {"strong_name": "none"}
    return {"strong_name": "signed" if flags & _STRONG_NAME_SIGNED else "delay-signed"}
