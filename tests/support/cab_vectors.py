# SPDX-License-Identifier: Apache-2.0
"""The broken and the good cabinets in ``testvectors/cab``; ``python -m tests.support.cab_vectors`` writes them.

A signed file cannot be made twice (keys are thrown away): it is written only when it is not there. The one that jsign
7.1 signed (the second of a set) was made by hand and is never written again.
"""

from __future__ import annotations

import struct
from pathlib import Path

from tests.support.cab_builder import SHAPES, Cab, sign, signature_reserve
from tests.support.osslsigncode import OF_VECTORS, signed_by_it
from tests.support.vector_files import write_vectors

FOLDER = Path(__file__).parents[2] / "testvectors" / "cab"

_PLAIN = Cab().build()
_CMS = bytes.fromhex("300d06092a864886f70d010702a000") + b"\0"  # SignedData with nothing inside, padded
_RESERVED = Cab(reserves=(bytes(20), 0, 0))
_SIZE = len(_RESERVED.build())


def _with(offset: int, field: bytes, content: bytes = _PLAIN) -> bytes:
    return content[:offset] + field + content[offset + len(field) :]


def _signed_with(reserve: bytes, behind: bytes = _CMS) -> bytes:
    return Cab(reserves=(reserve, 0, 0), behind=behind).build()


def _number(value: int) -> bytes:
    return struct.pack("<I", value)


#: Defect → (content, code of the error with which signing refuses it).
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not-a-cab"),
    "mark-alone": (b"MSCF", "cab-truncated"),
    "another-mark": (b"ISc(" + _PLAIN[4:], "not-a-cab"),
    "truncated-in-header": (_PLAIN[:35], "cab-truncated"),
    "truncated-in-folders": (_PLAIN[:40], "cab-truncated"),
    "truncated-in-reserve": (Cab(reserves=(bytes(200), 0, 0)).build()[:100], "cab-truncated"),
    "truncated-in-files": (_PLAIN[:60], "truncated"),
    "truncated-in-data": (_PLAIN[:-1], "truncated"),
    "version-1.4": (Cab(version=(1, 4)).build(), "cab-version"),
    "version-0": (Cab(version=(0, 0)).build(), "cab-version"),
    "unknown-flag": (Cab(flags=8).build(), "cab-flags"),
    "reserved1-not-zero": (Cab(reserved=(1, 0, 0)).build(), "bad-artifact"),
    "no-folders": (_with(26, b"\0\0"), "bad-artifact"),
    "no-files": (_with(28, b"\0\0"), "bad-artifact"),
    "folders-65535": (_with(26, b"\xff\xff"), "cab-truncated"),
    "size-beyond-end": (_with(8, _number(1 << 20)), "truncated"),
    "size-max": (_with(8, b"\xff\xff\xff\xff"), "truncated"),
    "size-0": (_with(8, _number(0)), "cab-truncated"),
    "data-behind": (_PLAIN + b"more", "data-after-cabinet"),
    "files-beyond-end": (_with(16, _number(1 << 20)), "cab-truncated"),
    "files-in-header": (_with(16, _number(20)), "cab-truncated"),
    "gap-before-files": (Cab(gap=b"gap").build(), "bad-artifact"),
    "folder-beyond-end": (_with(36, _number(1 << 20)), "bad-artifact"),
    "folder-offset-max": (_with(36, b"\xff\xff\xff\xff"), "bad-artifact"),
    "folder-in-header": (_with(36, _number(8)), "bad-artifact"),
    "name-without-end": (Cab(previous=("n" * 300, "")).build(), "cab-name"),
    "reserve-in-folders": (Cab(reserves=(b"", 4, 0)).build(), "foreign-reserve"),
    "reserve-in-blocks": (Cab(reserves=(bytes(20), 0, 4)).build(), "foreign-reserve"),
    "reserve-of-an-application": (Cab(reserves=(b"mine", 0, 0)).build(), "foreign-reserve"),
    "reserve-of-20-other-bytes": (Cab(reserves=(b"0123456789" * 2, 0, 0)).build(), "foreign-reserve"),
    "reserve-of-6144-with-content": (Cab(reserves=(bytes(6143) + b"x", 0, 0)).build(), "foreign-reserve"),
    "signature-in-a-larger-reserve": (
        Cab(reserves=(signature_reserve(_SIZE + 4, 16) + bytes(4), 0, 0), behind=_CMS).build(),
        "foreign-reserve",
    ),
    "signature-in-the-wrong-words": (_signed_with(struct.pack("<5I", _SIZE, 16, 0, 0, 0)), "foreign-reserve"),
    "signature-beyond-end": (_signed_with(signature_reserve(_SIZE, 17)), "bad-reserve"),
    "signature-offset-beyond-end": (_signed_with(signature_reserve(1 << 30, 16)), "bad-reserve"),
    "signature-wraps-around": (_signed_with(signature_reserve(0xFFFFFFF8, 16)), "bad-reserve"),
    "signature-in-the-cabinet": (_signed_with(signature_reserve(_SIZE - 16, 32)), "bad-reserve"),
    "signature-of-0-bytes": (_signed_with(signature_reserve(_SIZE, 0)), "bad-reserve"),
    "signature-at-0": (_signed_with(signature_reserve(0, 16)), "bad-reserve"),
    "signature-with-words-behind": (_signed_with(signature_reserve(_SIZE, 16)[:16] + b"more"), "bad-reserve"),
    "signature-not-at-end": (_signed_with(signature_reserve(_SIZE, 16), _CMS + b"m"), "data-after-signature"),
    "signature-not-cms": (_signed_with(signature_reserve(_SIZE, 16), b"\x04" + _CMS[1:]), "bad-envelope"),
    "signature-padding-not-zero": (_signed_with(signature_reserve(_SIZE, 16), _CMS[:-1] + b"\1"), "bad-envelope"),
    "signature-empty": (_signed_with(signature_reserve(_SIZE, 16)), "bad-envelope"),
    "signature-of-zeros": (_signed_with(signature_reserve(_SIZE, 16), bytes(16)), "bad-envelope"),
}


def write() -> None:
    """Write every file; signed ones only when absent."""
    write_vectors(FOLDER, {name: one.build() for name, one in SHAPES.items()}, BROKEN, _signed())


def _signed() -> dict[str, bytes]:
    once = sign(SHAPES["two-folders"].build(), description="a description", url="https://example.org/")
    return {
        "signed": once,
        "signed-nested": sign(once, existing="append", digest="sha384"),
        "signed-second-of-a-set": sign(SHAPES["second-of-a-set"].build()),
        "signed-by-osslsigncode": signed_by_it(SHAPES["two-folders"].build(), *OF_VECTORS),
    }


if __name__ == "__main__":
    write()
