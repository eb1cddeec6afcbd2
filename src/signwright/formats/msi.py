# SPDX-License-Identifier: Apache-2.0
r"""Windows Installer: packages (msi), patches (msp), transforms (mst). Compound files with a signature in a stream.

The signature is CMS in the stream ``\x05DigitalSignature`` of the root; with ``extended`` a second stream,
``\x05MsiDigitalSignatureEx``, has the digest of names, sizes and times, and that digest goes before the content into
the signed one. A stream is added or replaced by few sectors: new ones at the end of the file or free ones within it,
and those of the tables and of the directory that change. Every other stream keeps its bytes where they are.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator, Sequence

from signwright.containers.cfb import ENTRY_SIZE, MAGIC, MAX_SIZE, CompoundFile, looks_like_cfb
from signwright.errors import FormatError, MalformedError
from signwright.formats.authenticode import (
    MAX_ENVELOPE,
    AuthenticodeOptions,
    Existing,
    authenticode_operation,
    check_envelope,
    nest,
)
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.cfb_edit import Editor, check_tail, unused_bytes
from signwright.formats.cfb_space import Space
from signwright.formats.cfb_state import Offset, SpaceState, Text, content_of, dump, load
from signwright.formats.msi_content import (
    EXTENDED,
    KINDS,
    SIGNATURE,
    Streams,
    content,
    find_streams,
    kind_of,
    metadata,
    open_installer,
)
from signwright.formats.msi_summary import cabinets, summary_facts
from signwright.formats.state import bad_state, patch_of, read_state
from signwright.model.digest import Digest
from signwright.model.operation import Parameter, Strict
from signwright.model.patch import Patch
from signwright.model.view import View, sha256_of

MAX_KEPT = 512 << 10
#: An existing signature that is replaced, and the stream beside it.
MAX_REPLACED, MAX_EXTENDED = 2 << 20, 64 << 10
_CONTENT_AT = 116


class MsiOptions(AuthenticodeOptions):
    """Options of `MsiFormat`. ``extended``: write MsiDigitalSignatureEx, so that names, sizes and times count too."""

    extended: bool = False


class EntryState(Strict):
    """128 bytes of the directory, and where they stand."""

    offset: Offset
    content: Text


class MsiState(Strict):
    """What `MsiFormat.embed` needs. ``kept``: base64 of the signature into which the new one is nested, or empty."""

    space: SpaceState
    signature: EntryState
    root: EntryState
    kept: Text = ""


class MsiFormat:
    """Implements `signwright.formats.base.Format`."""

    name = "msi"
    title = "Windows Installer package, patch or transform"
    purpose = "authenticode"
    options: type[FormatOptions] = MsiOptions
    digest_mode = True
    file_names = ("*",)
    detached_suffix = ""
    verifiers: tuple[str, ...] = ("osslsigncode", "signify")

    def recognizes(self, view: View) -> bool:
        """A compound file whose root has one of Windows Installer's classes."""
        try:
            return looks_like_cfb(view) and _root_class(view) is not None
        except FormatError:
            return False

    def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:  # noqa: ARG002 - an installer does not care who signs it
        """One direct operation. Memory: the directory, and one byte for each sector of 512 or 4,096."""
        if not isinstance(options, MsiOptions):
            raise FormatError(f"options of {type(options).__name__}, wanted MsiOptions", code="bad-options")
        _check_room(view)
        beside = _Beside(view)
        try:
            return self._prepared(view, options, beside)
        finally:
            beside.close()

    def _prepared(self, view: View, options: MsiOptions, beside: _Beside) -> Prepared:
        file = open_installer(view)
        check_tail(file)
        streams = find_streams(file)
        kept = _kept(file, streams, options)
        prefix = _prefix(file, streams, options, appending=bool(kept))
        facts = _facts(file, streams)
        signed = hashlib.new(options.digest.value, prefix or b"")
        _feed(signed, content(file, file.root))
        digest = Digest(options.digest.value, signed.digest())
        state = _edited(file, streams, prefix, kept)
        return Prepared(
            format=self.name,
            source_sha256=beside.result(),
            source_size=view.size,
            operations=(authenticode_operation("msi", digest, options),),
            facts=facts,
            state=state.model_dump(mode="json"),
        )

    def embed(self, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
        """The stream's sectors, and those of the tables and of the directory that change."""
        state = read_state(prepared, MsiState, self.name)
        if len(envelopes) != 1:
            raise FormatError(f"{len(envelopes)} envelopes for one operation", code="bad-envelope")
        signature = check_envelope(envelopes[0])
        if state.kept:
            signature = nest(content_of(state.kept), signature)
        try:
            space = load(state.space, prepared.source_size)
            start = space.store(signature)
            _point(space, state.signature, start, len(signature))
            _point(space, state.root, space.mini_start, space.mini_size)
            space.finish()
            return _patch(space, prepared.source_sha256, prepared.source_size)
        except (MalformedError, IndexError, OverflowError) as problem:
            if isinstance(problem, FormatError):
                raise
            raise bad_state(problem) from problem

    def remove(self, view: View) -> Patch:
        """Without the streams of the signature; their sectors are given back, and overwritten with zeros."""
        file = open_installer(view)
        check_tail(file)
        streams = find_streams(file)
        if streams.signature is None:
            raise FormatError("the file has no signature stream", code="not-signed")
        source = sha256_of(view)
        present = [entry for entry in (streams.signature, streams.extended) if entry is not None]
        editor = Editor(file, present)
        for entry in present:
            editor.remove(entry)
        editor.finish()
        editor.space.finish()
        return _patch(editor.space, source, view.size)


def _root_class(view: View) -> str | None:
    """The kind of installer, from the first entry of the directory alone."""
    head = view.read(0, 0x34)
    shift = int.from_bytes(head[0x1E:0x20], "little")
    directory = int.from_bytes(head[0x30:0x34], "little")
    if head[: len(MAGIC)] != MAGIC or shift not in {9, 12}:
        return None
    raw = view.read((directory + 1) << shift, ENTRY_SIZE)
    return KINDS.get(raw[80:96])


def _check_room(view: View) -> None:
    """Raise `FormatError` for what is no compound file, and when the largest signature would not fit: before anything
    is read, and before a key is used.
    """
    if not looks_like_cfb(view):
        raise FormatError("not a compound file", code="not-a-cfb")
    if view.size + MAX_ENVELOPE + MAX_KEPT + (1 << 20) >= MAX_SIZE:
        raise FormatError(
            f"a signed installer is smaller than 2 GiB, with {view.size} bytes no room is left", code="too-large"
        )


def _kept(file: CompoundFile, streams: Streams, options: MsiOptions) -> bytes:
    """The signature that stays, with ``append``; raises `FormatError` where it must not be touched."""
    entry, beside = streams.signature, streams.extended
    if beside is not None and beside.size > MAX_EXTENDED:
        where = file.entry_offset(beside.index)
        raise FormatError(f"MsiDigitalSignatureEx of {beside.size} bytes", offset=where, code="too-large")
    if entry is None:
        return b""
    where = file.entry_offset(entry.index)
    if options.existing is Existing.REFUSE:
        raise FormatError(
            "the file is signed already", offset=where, code="already-signed", hint="option existing: replace or append"
        )
    limit = MAX_KEPT if options.existing is Existing.APPEND else MAX_REPLACED
    if entry.size > limit:
        raise FormatError(f"an existing signature of {entry.size} bytes, above {limit}", offset=where, code="too-large")
    if options.existing is Existing.REPLACE:
        return b""
    kept = check_envelope(file.read(entry, MAX_KEPT))
    nest(kept, kept)  # whether it can take another signature is to be known before a key is used
    return kept


def _prefix(file: CompoundFile, streams: Streams, options: MsiOptions, *, appending: bool) -> bytes | None:
    """What MsiDigitalSignatureEx holds when the file is signed: it goes into the digest first. None without it.

    Signatures that stay were made with the stream as it is, or without one.
    """
    made = hashlib.new(options.digest.value)
    for piece in metadata(file, file.root):
        made.update(piece)
    if not appending:
        return made.digest() if options.extended else None
    if streams.extended is None:
        if options.extended:
            raise FormatError(
                "the existing signature was made without MsiDigitalSignatureEx", code="bad-options", hint="replace it"
            )
        return None
    if file.read(streams.extended, 64) != made.digest():
        raise FormatError(
            "MsiDigitalSignatureEx is out of date, or of another digest than this signature",
            offset=file.entry_offset(streams.extended.index),
            code="bad-extended",
            hint="replace the signature, or take the digest of the first one",
        )
    return made.digest()


def _edited(file: CompoundFile, streams: Streams, prefix: bytes | None, kept: bytes) -> MsiState:
    """Directory and tables with all that can be done before the signature is there."""
    old = None if kept else streams.extended  # beside a signature that stays it stays, too
    editor = Editor(file, [entry for entry in (streams.signature, old) if entry is not None])
    if old is not None and prefix is None:
        editor.remove(old)
    signature = editor.add(SIGNATURE) if streams.signature is None else streams.signature.index
    if prefix is not None and not kept:
        extended = editor.add(EXTENDED) if streams.extended is None else streams.extended.index
        editor.set_content(extended, editor.space.store(prefix), len(prefix))
    editor.finish()
    editor.space.hold(MAX_ENVELOPE + MAX_KEPT)
    return MsiState(
        space=dump(editor.space),
        signature=_entry_state(*editor.entry(signature)),
        root=_entry_state(*editor.entry(0)),
        kept=base64.b64encode(kept).decode(),
    )


def _entry_state(offset: int, raw: bytes) -> EntryState:
    return EntryState(offset=offset, content=base64.b64encode(raw).decode())


def _point(space: Space, entry: EntryState, start: int, size: int) -> None:
    """Write an entry with another place and size of its content, where they differ."""
    raw = content_of(entry.content, ENTRY_SIZE)
    changed = raw[:_CONTENT_AT] + start.to_bytes(4, "little") + size.to_bytes(4, "little") + raw[_CONTENT_AT + 8 :]
    if changed != raw:
        space.write(entry.offset, changed)


def _patch(space: Space, source_sha256: str, source_size: int) -> Patch:
    splices, _ = space.splices(source_size)
    return patch_of(source_sha256, source_size, splices)


class _Beside:
    """The SHA-256 of a whole file, taken in a thread of its own while the streams are looked at and digested."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._found = ""
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = threading.Thread(target=self._run, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # a sandbox forbids threads: slower, the same result
            self._thread = None

    def _run(self) -> None:
        try:
            self._found = sha256_of(self._view)
        except Exception as problem:  # noqa: BLE001 - carried to the caller's thread
            self._failure = problem

    def close(self) -> None:
        """Wait for the thread: the caller may close the file afterwards."""
        if self._thread is not None:
            self._thread.join()

    def result(self) -> str:
        if self._thread is None:
            self._run()
        self.close()
        if self._failure is not None:
            raise self._failure
        return self._found


def _feed(running: hashlib._Hash, parts: Iterator[bytes]) -> None:
    for part in parts:
        running.update(part)


def _facts(file: CompoundFile, streams: Streams) -> dict[str, Parameter]:
    return {
        **summary_facts(file),
        "kind": kind_of(file.root) or "",
        "embedded_cabinets": cabinets(file),
        "unused_bytes": unused_bytes(file),
        "signed_before": streams.signature is not None,
    }
