# SPDX-License-Identifier: Apache-2.0
"""What an installer's signature speaks about, and which streams hold it.

Streams are taken in the order of their names as UTF-16LE bytes, storages with all that is in them at their place; the
class identifier of each storage follows its content. The two streams of the signature are left out. Source: what
Windows does, as the makers of other signing programs found out; Microsoft has not published it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from signwright.containers.cfb import EMPTY, ROOT, STREAM, CompoundFile, Entry, name_key
from signwright.errors import FormatError
from signwright.model.view import View

SIGNATURE = "\x05DigitalSignature".encode("utf-16-le")
EXTENDED = "\x05MsiDigitalSignatureEx".encode("utf-16-le")

#: Class identifiers of the root, as they stand in a file.
KINDS = {
    bytes.fromhex("84100c0000000000c000000000000046"): "installer",
    bytes.fromhex("86100c0000000000c000000000000046"): "patch",
    bytes.fromhex("82100c0000000000c000000000000046"): "transform",
}


@dataclass(frozen=True, slots=True)
class Streams:
    """The signature's streams, where there are any."""

    signature: Entry | None
    extended: Entry | None


def kind_of(root: Entry) -> str | None:
    """``installer``, ``patch`` or ``transform``."""
    return KINDS.get(root.clsid)


def open_installer(view: View) -> CompoundFile:
    """The checked file; raises `FormatError` (``not-an-msi``, ``cfb-...``)."""
    file = CompoundFile(view)
    if kind_of(file.root) is None:
        raise FormatError(
            f"a compound file of class {file.root.clsid.hex()}, none of Windows Installer",
            offset=file.entry_offset(0),
            code="not-an-msi",
        )
    for entry in file.entries:
        if entry.kind not in {EMPTY, STREAM}:
            file.check_order(entry)
    return file


def find_streams(file: CompoundFile) -> Streams:
    """Raises `FormatError` (``bad-signature-stream``) for one that programs would understand differently."""
    found = []
    keys = {name_key(SIGNATURE), name_key(EXTENDED)}
    for name in (SIGNATURE, EXTENDED):
        entry = file.child(file.root, name)
        if entry is not None and (entry.name != name or entry.kind != STREAM):
            raise _bad_stream(file, entry, "is no stream, or is written in other letters")
        found.append(entry)
    for entry in file.entries:
        if entry.kind != EMPTY and entry not in found and name_key(entry.name) in keys:
            raise _bad_stream(file, entry, "stands in a storage")
    return Streams(*found)


def content(file: CompoundFile, storage: Entry) -> Iterator[bytes]:
    """Everything that a digest of ``storage`` covers, in blocks."""
    for entry in _in_order(file, storage):
        if entry.kind == STREAM:
            yield from file.blocks(entry)
        else:
            yield from content(file, entry)
    yield storage.clsid


def metadata(file: CompoundFile, entry: Entry) -> Iterator[bytes]:
    """What MsiDigitalSignatureEx covers of an entry and those in it: names, classes, sizes, state bits, times."""
    if entry.kind != ROOT:
        yield entry.name
    yield (entry.size & 0xFFFFFFFF).to_bytes(4, "little") if entry.kind == STREAM else entry.clsid
    yield entry.state.to_bytes(4, "little")
    if entry.kind != ROOT:
        yield entry.created.to_bytes(8, "little") + entry.modified.to_bytes(8, "little")
    if entry.kind != STREAM:
        for inner in _in_order(file, entry):
            yield from metadata(file, inner)


def _in_order(file: CompoundFile, storage: Entry) -> list[Entry]:
    inside = [entry for entry in file.children(storage) if entry.name not in {SIGNATURE, EXTENDED}]
    return sorted(inside, key=lambda entry: entry.name)


def _bad_stream(file: CompoundFile, entry: Entry, found: str) -> FormatError:
    return FormatError(
        f"an entry named like the signature {found}",
        offset=file.entry_offset(entry.index),
        code="bad-signature-stream",
    )
