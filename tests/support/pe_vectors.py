# SPDX-License-Identifier: Apache-2.0
"""The broken and the good PE files in ``testvectors/pe``; ``python -m tests.support.pe_vectors`` writes them.

A signed file cannot be made twice (keys are thrown away): it is written only when it is not there.
"""

from __future__ import annotations

import struct
from pathlib import Path

from signwright.formats.authenticode import write_certificates
from signwright.formats.pe import PeFormat, PeOptions
from signwright.model.view import BytesView
from tests.support.osslsigncode import OF_VECTORS, signed_by_it
from tests.support.pe_builder import EFI, PE32, PE32_PLUS, SHAPES, envelope_for, identity, sign
from tests.support.vector_files import write_vectors

FOLDER = Path(__file__).parents[2] / "testvectors" / "pe"

_PLAIN = PE32_PLUS.build()
_CMS = bytes.fromhex("300d06092a864886f70d010702a000")  # SignedData with nothing inside: enough for a table
_TABLE = write_certificates([_CMS])
_OPTIONAL = 64 + 24


def _with(content: bytes, offset: int, field: bytes) -> bytes:
    return content[:offset] + field + content[offset + len(field) :]


def _marked(mark: bytes) -> bytes:
    return _with(_PLAIN, 64, mark)


#: Defect → (content, code of the error with which signing refuses it).
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not-a-pe"),
    "one-byte": (b"M", "not-a-pe"),
    "mz-only": (b"MZ", "truncated"),
    "dos-program": (b"MZ" + bytes(200), "not-a-pe"),
    "header-beyond-end": (_with(_PLAIN, 60, struct.pack("<I", 1 << 20)), "not-a-pe"),
    "header-offset-max": (_with(_PLAIN, 60, b"\xff\xff\xff\xff"), "not-a-pe"),
    "header-unaligned": (PE32_PLUS.but(lead=b"odd").build(), "bad-artifact"),
    "ne-program": (_marked(b"NE\5\0"), "not-a-pe"),
    "le-driver": (_marked(b"LE\0\0"), "not-a-pe"),
    "elf": (b"\x7fELF" + bytes(200), "not-a-pe"),
    "truncated-in-coff-header": (_PLAIN[:80], "truncated"),
    "truncated-in-optional-header": (_PLAIN[:200], "truncated"),
    "truncated-in-section-table": (_PLAIN[: _OPTIONAL + 240 + 20], "truncated"),
    "truncated-in-section": (_PLAIN[:-1], "truncated"),
    "section-beyond-end": (_with(_PLAIN, _OPTIONAL + 240 + 20, struct.pack("<I", 1 << 31)), "truncated"),
    "sections-65535": (_with(_PLAIN, 70, b"\xff\xff"), "bad-artifact"),
    "rom-image": (_with(_PLAIN, _OPTIONAL, struct.pack("<H", 0x107)), "bad-artifact"),
    "optional-header-0": (_with(_PLAIN, 84, b"\0\0"), "bad-artifact"),
    "optional-header-40": (_with(_PLAIN, 84, struct.pack("<H", 40)), "bad-artifact"),
    "optional-header-without-room": (_with(_PLAIN, 84, struct.pack("<H", 112 + 32)), "bad-artifact"),
    "directories-0": (PE32_PLUS.but(directories=0).build(), "no-directory"),
    "directories-4": (PE32.but(directories=4).build(), "no-directory"),
    "table-beyond-end": (PE32_PLUS.but(table=_TABLE, security=(1536, 4096)).build(), "bad-certificate-table"),
    "table-offset-beyond-end": (PE32_PLUS.but(security=(1 << 30, 64)).build(), "bad-certificate-table"),
    "table-wraps-around": (PE32_PLUS.but(security=(0xFFFFFFF8, 64)).build(), "bad-certificate-table"),
    "table-unaligned": (PE32_PLUS.but(table=_TABLE, security=(1532, 8)).build(), "bad-certificate-table"),
    "table-in-headers": (PE32_PLUS.but(security=(64, 64)).build(), "bad-certificate-table"),
    "table-without-size": (PE32_PLUS.but(security=(1536, 0)).build(), "bad-certificate-table"),
    "table-without-offset": (PE32_PLUS.but(security=(0, 64)).build(), "bad-certificate-table"),
    "table-of-4-bytes": (PE32_PLUS.but(table=_TABLE, security=(1536, 4)).build(), "bad-certificate-table"),
    "table-over-section": (PE32_PLUS.but(security=(1024, 512)).build(), "truncated"),
    "table-not-at-end": (
        PE32_PLUS.but(table=_TABLE + b"more", security=(1536, len(_TABLE))).build(),
        "data-after-signature",
    ),
    "entry-length-0": (PE32_PLUS.but(table=_with(_TABLE, 0, bytes(4))).build(), "bad-certificate-table"),
    "entry-length-beyond-table": (PE32_PLUS.but(table=_with(_TABLE, 0, b"\0\1")).build(), "bad-certificate-table"),
    "entry-of-revision-1": (PE32_PLUS.but(table=_with(_TABLE, 4, b"\0\1")).build(), "bad-certificate-table"),
    "entry-not-cms": (PE32_PLUS.but(table=_with(_TABLE, 8, b"\x04")).build(), "bad-certificate-table"),
    "entry-padding-not-zero": (PE32_PLUS.but(table=_TABLE[:-1] + b"\1").build(), "bad-certificate-table"),
    "entries-65": (PE32_PLUS.but(table=_TABLE * 65).build(), "bad-certificate-table"),
    "signature-empty": (PE32_PLUS.but(table=_TABLE).build(), "bad-envelope"),
}


def write() -> None:
    """Write every file; signed ones only when absent."""
    write_vectors(FOLDER, {name: one.build() for name, one in SHAPES.items()}, BROKEN, _signed())


def _signed() -> dict[str, bytes]:
    once = sign(SHAPES["odd-end"].build(), description="a description", url="https://example.org/")
    prepared = PeFormat().prepare(BytesView(_PLAIN), (), PeOptions())
    pair = write_certificates([envelope_for(prepared, identity(key_type)) for key_type in ("p256", "p384")])
    efi = sign(EFI.build())
    return {
        "signed": once,
        "signed-nested": sign(once, existing="append", digest="sha384"),
        "signed-efi-two-entries": sign(efi, existing="append"),
        "signed-two-entries": PE32_PLUS.but(table=pair).build(),
        "signed-by-osslsigncode": signed_by_it(SHAPES["odd-end"].build(), *OF_VECTORS),
    }


if __name__ == "__main__":
    write()
