# SPDX-License-Identifier: Apache-2.0
"""What ``verify FILE`` is about: which file holds the signature, which the content, where the receipt is.

The receipt of ``OUT`` is ``OUT.swreceipt``; a detached signature of ``FILE`` is ``FILE.p7s`` (CMS) or ``FILE.sig``
(raw).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from signwright.client.members import reader_of
from signwright.client.raw import ReceiptKeyReader
from signwright.client.verify import Evidence
from signwright.errors import FormatError, LimitError, MalformedError, SignwrightError, UsageError
from signwright.model.view import FileView, View
from signwright.readers.base import Reading
from signwright.readers.registry import READERS
from signwright.statements.bundle import ReceiptBundle, open_envelope
from signwright.statements.models import parse_statement
from signwright.statements.parse import MAX_MANIFEST
from signwright.statements.receipt import Receipt

RECEIPT = ".swreceipt"
#: Suffix of a detached signature → format.
DETACHED = {".p7s": "cms", ".sig": "raw"}


@dataclass(frozen=True, slots=True)
class Subject:
    """``content``: the file that a detached ``signature`` speaks about; ``format``: None until the bytes tell."""

    signature: Path
    content: Path | None
    receipt: Path | None
    format: str | None


def find_subject(file: Path, *, receipt: Path | None, content: Path | None, format_name: str | None) -> Subject:
    """Which files belong together; raises `UsageError` for a format that nobody reads. Opens nothing."""
    if format_name is not None and format_name not in {*READERS, *DETACHED.values()}:
        known = ", ".join(sorted({*READERS, *DETACHED.values()}))
        raise UsageError(f"no reader of format {format_name!r}; known: {known}", code="unknown-format")
    if file.suffix in DETACHED and (content is not None or file.with_suffix("").is_file()):
        detached = format_name or DETACHED[file.suffix]
        return Subject(file, content or file.with_suffix(""), receipt or _receipt_of(file), detached)
    if content is not None:
        return Subject(file, content, receipt or _receipt_of(file), format_name or "cms")
    beside = [file.with_name(file.name + suffix) for suffix in DETACHED]
    for signature in beside:
        wanted = DETACHED[signature.suffix]
        if signature.is_file() and format_name in (None, wanted) and not _is_embedded(file, format_name):
            return Subject(signature, file, receipt or _receipt_of(signature), wanted)
    return Subject(file, None, receipt or _receipt_of(file), format_name)


def _receipt_of(file: Path) -> Path | None:
    beside = file.with_name(file.name + RECEIPT)
    return beside if beside.is_file() else None


def _is_embedded(file: Path, format_name: str | None) -> bool:
    """The file carries its own signature, so one that lies beside it is not what was asked about. Signatures of members
    are not its own, unless it has a receipt: then it was signed by its members.
    """
    if format_name in DETACHED.values():
        return False
    try:
        with file.open("rb") as opened:
            view = FileView(opened)
            name = recognize(view)
            found = READERS[name].read(view, None).signatures if name is not None else ()
            return any(not one.inner_path or _receipt_of(file) for one in found)
    except FormatError:
        return False
    except (OSError, SignwrightError):
        return True


def recognize(view: View) -> str | None:
    """Name of the format whose signature stands in ``view``."""
    return next((name for name, reader in READERS.items() if reader.recognizes(view)), None)


def load_bundle(file: Path) -> ReceiptBundle:
    """Raises `UsageError` when it cannot be read, `MalformedError` and `LimitError` for what is no receipt."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_MANIFEST + 1)
    except OSError as problem:
        raise UsageError(f"receipt {file}: {problem.strerror}", code="cannot-read") from problem
    try:
        return ReceiptBundle.decode(content)
    except (MalformedError, LimitError) as problem:
        kind = LimitError if isinstance(problem, LimitError) else MalformedError
        raise kind(f"receipt {file}: {problem.message}", code=problem.code) from problem


def said_format(bundle: ReceiptBundle) -> str | None:
    """The format that the receipt names; only a hint for choosing a reader."""
    try:
        return parse_statement(open_envelope(bundle.receipt), Receipt).predicate.format
    except SignwrightError:
        return None


@contextmanager
def opened_evidence(
    subject: Subject, bundle: ReceiptBundle | None, crls: list[bytes], *, public_key: bytes | None = None
) -> Iterator[Evidence]:
    """The files open for reading, with the right reader; raises `UsageError` for files that cannot be read.

    ``public_key``: DER SubjectPublicKeyInfo for a raw signature.
    """
    with ExitStack() as stack:
        view = _open(stack, subject.signature)
        content = _open(stack, subject.content) if subject.content else None
        name = subject.format or recognize(view) or (said_format(bundle) if bundle else None)
        yield Evidence(view, content, _read_as(name, bundle, public_key), bundle, tuple(crls))


def _read_as(
    name: str | None, bundle: ReceiptBundle | None, public_key: bytes | None
) -> Callable[[View, View | None], Reading]:
    if name == "raw":
        return ReceiptKeyReader(bundle, public_key).read
    if public_key is not None:
        raise UsageError("--public-key is for raw signatures; others bring their certificate", code="public-key")
    if name is None or name not in READERS:
        known = ", ".join(sorted(READERS))
        return _refuse(f"a file of no format that is read ({known}), and no detached signature lies beside it")
    return reader_of(name, bundle)


def _refuse(message: str) -> Callable[[View, View | None], Reading]:
    def read(view: View, content: View | None) -> Reading:
        del view, content
        raise FormatError(message, code="not-signed")

    return read


def _open(stack: ExitStack, path: Path) -> FileView:
    try:
        return FileView(stack.enter_context(path.open("rb")))
    except OSError as problem:
        raise UsageError(f"{path}: {problem.strerror}", code="cannot-read") from problem
