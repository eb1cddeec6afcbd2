# SPDX-License-Identifier: Apache-2.0
r"""Reader of signed Windows Installer files, written from what Windows does and sharing nothing with the writer.

The digest covers the content of every stream but the signature's two, in the order of names as UTF-16LE bytes, and the
class identifiers of storages. With ``\x05MsiDigitalSignatureEx`` names, sizes, times and state bits count as well.

What is *not* covered by a signature that is found to hold: names, times and state bits without that stream; sectors
that nothing holds, the rest of a last sector, and reserved fields; unsigned attributes, which are checked on their own.
Data behind the last sector in use is an error in a signed file: Windows refuses its signature.

The strip test compares the tree of storages and streams (names, classes, times, state bits, content, and where each
stream lies), and everything in the file that belongs to nothing and is not zero, with its place. Signing moves none of
it. Left out are the tables, the shape of the tree of names, and the two streams of the signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from signwright.errors import FormatError, VerificationError
from signwright.model.one_pass import update
from signwright.model.view import BLOCK, View, blocks
from signwright.readers import authenticode
from signwright.readers.base import Reading
from signwright.readers.cfb import SIGNATURE as COMPOUND
from signwright.readers.cfb import CompoundReader, Item
from signwright.readers.cfb_rest import rest

MAX_SIGNATURE = 16 << 20

_SIGNATURE = "\x05DigitalSignature"
_EXTENDED = "\x05MsiDigitalSignatureEx"
_PACKAGE = bytes.fromhex("f1100c0000000000c000000000000046")
#: Databases, patches and transforms of Windows Installer.
_CLASSES = {bytes.fromhex(f"{kind}100c0000000000c000000000000046") for kind in ("82", "84", "86")}
_BY_LENGTH = {32: "sha256", 48: "sha384", 64: "sha512"}


class MsiReader:
    """Implements `signwright.readers.base.Reader`."""

    name = "msi"

    def recognizes(self, view: View) -> bool:
        if view.size < 512 or view.read(0, 8) != COMPOUND:
            return False
        shift = int.from_bytes(view.read(30, 2), "little")
        root = (int.from_bytes(view.read(48, 4), "little") + 1) << min(shift, 12)
        return root + 96 <= view.size and view.read(root + 80, 16) in _CLASSES

    def read(self, view: View, content: View | None = None) -> Reading:
        """Every signature of the file, also nested ones. A file without any gives a `Reading` without signatures.

        A signature whose digest is SHA-1 or MD5 is not counted: it is a warning beside another one, and
        `VerificationError` alone. Any other signature that does not hold is `VerificationError`.
        """
        if content is not None:
            raise FormatError("an installer carries its signature inside, there is no content beside it")
        file = CompoundReader(view)
        if file.root.clsid not in _CLASSES:
            raise FormatError("a compound file that is none of Windows Installer", code="not-an-msi")
        signature, extended = _signature_streams(file)
        entries = [("1", file.read(signature, MAX_SIGNATURE))] if signature is not None else []
        claims = list(authenticode.claims_in(entries, authenticode.of_package(_PACKAGE)))
        counted, warnings = authenticode.accepted(claims)
        prefix = b"" if extended is None else file.read(extended, 64)
        if extended is not None and claims:
            _check_extended(file, prefix, claims)
        digests, stripped = _digests(file, prefix, sorted({claim.algorithm for claim in counted}))
        warnings += _looks(file, view, signed=bool(claims), left_over=extended is not None and signature is None)
        covers = "contents of streams" if extended is None else "contents, names, sizes and times of streams"
        for claim in counted:
            authenticode.check_digest(claim, digests)
        found = tuple(authenticode.found(claim, self.name, notes={"covers": covers}) for claim in counted)
        return Reading(self.name, found, stripped, tuple(warnings))

    def stripped(self, view: View) -> str:
        """Implements `signwright.readers.base.Stripper`."""
        file = CompoundReader(view)
        _signature_streams(file)
        return _digests(file, b"", [])[1]


def signature_stream(view: View) -> bytes | None:
    """The structure in the signature's stream as it stands there; nothing is judged. None when there is no stream.

    For who asks which keys were used and not whether the file holds. `FormatError` for what cannot be followed.
    """
    file = CompoundReader(view)
    signature, _ = _signature_streams(file)
    return None if signature is None else file.read(signature, MAX_SIGNATURE)


def _signature_streams(file: CompoundReader) -> tuple[Item | None, Item | None]:
    """The two streams of the root; `FormatError` for their like anywhere else or in other letters."""
    found: dict[str, Item] = {}
    for depth, item in file.streams():
        name = item.name.decode("utf-16-le", "replace")
        for wanted in (_SIGNATURE, _EXTENDED):
            if name.upper() == wanted.upper():
                if depth != 1 or name != wanted or not item.is_stream:
                    raise FormatError("an entry that is only named like the signature", code="bad-signature-stream")
                found[wanted] = item
    return found.get(_SIGNATURE), found.get(_EXTENDED)


def _check_extended(file: CompoundReader, stored: bytes, claims: Sequence[authenticode.Claim]) -> None:
    """Windows takes the stream as it is, others compute it again: it must be what they compute."""
    algorithm = _BY_LENGTH.get(len(stored))
    if algorithm is None or any(claim.algorithm != algorithm for claim in claims):
        raise VerificationError("MsiDigitalSignatureEx is of another digest than the signature", code="bad-extended")
    running = hashlib.new(algorithm)
    for piece in _metadata(file.root, is_root=True):
        running.update(piece)
    if running.digest() != stored:
        raise VerificationError("names, sizes or times are not what was signed", code="bad-extended")


def _metadata(item: Item, *, is_root: bool = False) -> Iterator[bytes]:
    if not is_root:
        yield item.name
    yield item.size.to_bytes(8, "little")[:4] if item.is_stream else item.clsid
    yield item.state.to_bytes(4, "little")
    if not is_root:
        yield item.created.to_bytes(8, "little")
        yield item.modified.to_bytes(8, "little")
    for inner in _by_bytes(item, is_root=is_root):
        yield from _metadata(inner)


def _by_bytes(item: Item, *, is_root: bool) -> list[Item]:
    """What a storage holds, in the order of the digest."""
    left_out = {_SIGNATURE.encode("utf-16-le"), _EXTENDED.encode("utf-16-le")} if is_root else set()
    return sorted((inner for inner in item.items if inner.name not in left_out), key=lambda inner: inner.name)


def _digests(file: CompoundReader, prefix: bytes, algorithms: Sequence[str]) -> tuple[dict[str, bytes], str]:
    """One pass over the streams: the digests that signatures claim, and the one of the strip test, which goes on over
    what no stream holds.
    """
    signed = {name: hashlib.new(name, prefix) for name in algorithms}
    stripped = hashlib.sha256()
    with ThreadPoolExecutor(max_workers=2) as pool:
        for piece, is_covered in _pieces(file, file.root, is_root=True):
            covering = list(signed.values()) if is_covered else []
            # Whole blocks are worth another core: hashlib lets go of the interpreter lock.
            waiting = [update(running, piece, pool if len(piece) == BLOCK else None) for running in covering]
            stripped.update(piece)
            for done in waiting:
                if done is not None:
                    done.result()
    rows = {item.row for item in _signature_streams(file) if item is not None}
    for record in rest(file, rows):
        stripped.update(record)
    return {name: running.digest() for name, running in signed.items()}, stripped.hexdigest()


def _pieces(file: CompoundReader, item: Item, *, is_root: bool = False) -> Iterator[tuple[bytes, bool]]:
    """The tree in order: bytes, and whether the signed digest covers them. Before each piece of a stream stands where
    it lies: whoever may put sectors into another order makes another file of them.
    """
    size = item.size if item.is_stream else 0
    shape = [item.row, len(item.name), item.is_stream, item.state, item.created, item.modified, size]
    shape.append(len(_by_bytes(item, is_root=is_root)))
    yield b"".join(number.to_bytes(8, "little") for number in shape) + item.name, False
    if item.is_stream:
        for offset, length in file.spans(item):
            yield offset.to_bytes(8, "little") + length.to_bytes(8, "little"), False
            for block in blocks(file.view, offset, length):
                yield block, True
        return
    for inner in _by_bytes(item, is_root=is_root):
        yield from _pieces(file, inner)
    yield item.clsid, True


def _looks(file: CompoundReader, view: View, *, signed: bool, left_over: bool) -> list[str]:
    """What is odd, for people; `FormatError` for what Windows refuses in a signed file."""
    behind = view.size - file.behind
    if behind and signed:
        raise FormatError(
            f"{behind} bytes behind the last sector in use", offset=file.behind, code="data-after-signature"
        )
    warnings = [f"{behind} bytes stand behind the last sector in use"] if behind else []
    if file.unused and not behind:
        warnings.append(f"{file.unused} sectors within the file belong to nothing")
    if left_over:
        warnings.append("MsiDigitalSignatureEx stands there without a signature")
    return warnings
