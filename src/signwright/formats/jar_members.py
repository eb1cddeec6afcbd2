# SPDX-License-Identifier: Apache-2.0
"""What a JAR is made of: which members are signed, which belong to signatures, and the digests of the first.

Source: "JAR File Specification" (Oracle), sections "The META-INF directory" and "Signed JAR File"; where it is silent,
Java 17 decides. Refused is what two readers could take for different files.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from signwright.containers.zip import END, Member, ZipArchive
from signwright.errors import FormatError, LimitError
from signwright.formats.jar_manifest import MAX_TEXT
from signwright.formats.zip_patch import MAX_MOVED_DIRECTORY, open_zip
from signwright.model.digest import Digest
from signwright.model.one_pass import THREADS_FROM
from signwright.model.view import BLOCK, View, blocks

FOLDER, MANIFEST = "META-INF/", "META-INF/MANIFEST.MF"
#: Members of signatures in one JAR.
MAX_RELATED = 64
#: Sections of a manifest that are of no member, such as those of packages.
_SPARE_SECTIONS = 4096
#: Unpacked to packed of the whole file, and below what it does not matter; the same of what is read as text.
_RATIO, _RATIO_FLOOR = 100, 16 << 20
_TEXT_RATIO, _TEXT_FLOOR = 10, 1 << 20

_UTF8 = 1 << 11
_PACKINGS = (0, 8)
#: Bytes from which on a digest is left to another thread, blocks that may wait for it, and small ones taken together.
_MUCH, _WAITING, _MANY = 64 << 10, 4, 64
#: Offset of the number of the volume in a record of the directory.
_VOLUME = 34
_NAME = re.compile(rb"[\r\n]name:", re.IGNORECASE)
_SIGNATURE = re.compile(r"META-INF/([^/]*\.(?:SF|RSA|DSA|EC)|SIG-[^/.]*|SIG-[^/]*\.[A-Z0-9]{1,3})")


def is_related(name: str) -> bool:
    """Whether the member belongs to a signature, its place and name alone considered; the manifest does not."""
    return _SIGNATURE.fullmatch(name.upper()) is not None


@dataclass(frozen=True, slots=True)
class Jar:
    """``manifest``: None without one; ``related``: members of signatures; ``files``: everything that is to be signed,
    by name, in the order of the directory.
    """

    archive: ZipArchive
    manifest: Member | None
    related: tuple[Member, ...]
    files: Mapping[str, Member]

    @property
    def signers(self) -> set[str]:
        """Names, in upper case, of the signature files that are there."""
        names = (member.name.upper() for member in self.related)
        return {name[len(FOLDER) : -3] for name in names if name.endswith(".SF")}

    def first_place(self) -> tuple[int, int]:
        """Where the manifest belongs: offsets among the members and in the directory. Readers that go through a JAR
        from its start take it as the first member, or as the second behind its folder.
        """
        archive = self.archive
        at, entry_at = archive.start, archive.directory.start
        first = min(archive.members, key=lambda member: member.header, default=None)
        if first is not None and first.name == FOLDER:
            at = first.end
        if archive.members and archive.members[0].name == FOLDER:
            entry_at += archive.members[0].entry_size
        return at, entry_at


def open_jar(view: View) -> Jar:
    """Raises `FormatError`."""
    archive = open_zip(view)
    _check_directory(view, archive)
    total = sum(member.size for member in archive.members)
    if total > max(_RATIO_FLOOR, _RATIO * view.size):
        raise FormatError(f"members of {total} bytes in {view.size}", code="archive-ratio")
    manifest: Member | None = None
    related: list[Member] = []
    files: dict[str, Member] = {}
    seen: set[str] = set()
    for member in archive.members:
        _check_member(member)
        if member.name in seen:
            raise FormatError(f"two members named {member.name[:60]!r}", offset=member.header, code="name-twice")
        seen.add(member.name)
        if member.name.upper() == MANIFEST:
            if manifest is not None or member.name != MANIFEST:
                raise FormatError("two manifests, or one spelt otherwise", offset=member.header, code="manifest-twice")
            manifest = member
        elif is_related(member.name):
            related.append(member)
        elif not member.name.endswith("/"):
            files[member.name] = member
    if len(related) > MAX_RELATED:
        raise FormatError(f"{len(related)} files of signatures, at most {MAX_RELATED} are read", code="too-large")
    return Jar(archive, manifest, tuple(related), files)


def check_texts(jar: Jar, size: int, added: int, sections: int = 0) -> None:
    """That a file of ``size`` bytes may have the signature files that are there, and ``added`` bytes of texts; and
    these may have so many ``sections``. No JAR that is not made for it comes near.
    """
    total = added + sum(member.size for member in jar.related if member.name.upper().endswith(".SF"))
    if total > _TEXT_FLOOR + _TEXT_RATIO * size:
        raise FormatError(f"manifest and signature files of {total} bytes in {size}", code="archive-ratio")
    most = len(jar.files) + _SPARE_SECTIONS
    if sections > most:
        raise FormatError(f"a manifest of {sections} sections, at most {most} are read", code="too-large")


def _check_directory(view: View, archive: ZipArchive) -> None:
    """What the walk through a zip lets pass, and other readers do not."""
    found = archive.directory
    if END in view.read(found.end + len(END), view.size - found.end - len(END)):
        raise FormatError("a comment that reads like an end record", offset=found.end, code="ambiguous-end")
    if found.size > MAX_MOVED_DIRECTORY:
        raise FormatError(
            f"a directory of {found.size} bytes, at most {MAX_MOVED_DIRECTORY} can be rewritten", code="too-large"
        )
    content = view.read(found.start, found.size)
    for member in archive.members:
        at = member.entry - found.start + _VOLUME
        if content[at : at + 2] != b"\0\0":
            raise FormatError("a member in another volume", offset=member.entry, code="zip-volumes")


def _check_member(member: Member) -> None:
    name, offset = member.name, member.header
    if member.encrypted:
        raise FormatError("an encrypted member", offset=offset, code="zip-encrypted")
    if member.method not in _PACKINGS:
        raise FormatError(f"packing method {member.method}, which Java does not read", offset=offset, code="zip-method")
    if not name.isascii() and not member.flags & _UTF8:
        raise FormatError(
            "a name that is not ASCII and does not say that it is UTF-8",
            offset=offset,
            code="name-encoding",
            hint="the jar tool of the JDK writes such names as every reader reads them",
        )
    if name.startswith(("/", "./")):
        raise FormatError(f"a member named {name[:60]!r}, which Java takes for another", offset=offset, code="name")
    if name.endswith("/") and member.size:
        raise FormatError("a folder with content, which nobody would sign", offset=offset, code="folder-content")
    folded = name.upper()
    if not name.isascii() and (folded == MANIFEST or is_related(folded)):
        raise FormatError("a name that is one of META-INF's to some readers", offset=offset, code="name")


def read_text(jar: Jar, member: Member, most: int) -> bytes:
    """The whole unpacked content of a small member."""
    if member.size > most:
        raise FormatError(f"{member.name[:60]} has {member.size} bytes, at most {most} are read", code="too-large")
    try:
        return b"".join(jar.archive.read(member))
    except LimitError as problem:
        raise FormatError(problem.message, offset=member.header, code=problem.code) from problem


def read_manifest(jar: Jar, member: Member, size: int) -> bytes:
    """The manifest of a file of ``size`` bytes, its sections counted before anybody looks at them one by one."""
    content = read_text(jar, member, MAX_TEXT)
    check_texts(jar, size, len(content), len(_NAME.findall(content)))
    return content


class HashedView:
    """A view that takes the SHA-256 of all its bytes while others read it from its start to its end.

    Before `begin` and after `sha256` it only hands through. Digests of much have a thread of their own where one can
    be had (`later`); what waits for it is bounded.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self.size = view.size
        self._digest = hashlib.sha256()
        self._at: int | None = None
        self._held: list[bytes] = []
        self._executor: ThreadPoolExecutor | None = None
        self._running: deque[Future[None]] = deque()

    def begin(self) -> None:
        """From now on reads go forwards; what they leave out is read here."""
        self._at = 0
        if self.size < THREADS_FROM:
            return
        executor = ThreadPoolExecutor(1)
        try:
            executor.submit(int)
        except RuntimeError:  # a sandbox that forbids threads: slower, the same result
            return
        self._executor = executor

    def read(self, offset: int, length: int) -> bytes:
        content = self._view.read(offset, length)
        if self._at is not None and offset + length > self._at:
            self._catch_up(offset)
            self._take(content[self._at - offset :] if offset < self._at else content)
        return content

    def sha256(self) -> str:
        """Lower-case hex."""
        try:
            self._catch_up(self.size)
            self._flush()
            self._at = None
            self.wait()
        finally:
            self.close()
        return self._digest.hexdigest()

    def later(self, update: Callable[[bytes], object], block: bytes) -> None:
        """``update(block)``, in the order of these calls."""
        if self._executor is None:
            update(block)
            return
        if len(self._running) >= _WAITING:
            self._running.popleft().result()
        self._running.append(self._executor.submit(_ignoring_result, update, block))

    def wait(self) -> None:
        """Until everything that was left for later is done."""
        while self._running:
            self._running.popleft().result()

    def close(self) -> None:
        """End the thread, if any."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def _catch_up(self, offset: int) -> None:
        assert self._at is not None
        for block in blocks(self._view, self._at, offset - self._at, BLOCK):
            self._take(block)

    def _take(self, block: bytes) -> None:
        """Small blocks are taken together: handing one over costs more than hashing it."""
        assert self._at is not None
        self._at += len(block)
        self._held.append(block)
        if len(block) >= _MUCH or len(self._held) >= _MANY:
            self._flush()

    def _flush(self) -> None:
        held, self._held = self._held, []
        self.later(self._digest.update, held[0] if len(held) == 1 else b"".join(held))


def _ignoring_result(update: Callable[[bytes], object], block: bytes) -> None:
    update(block)


def digest_files(
    view: HashedView, jar: Jar, wanted: Mapping[str, Sequence[str]]
) -> tuple[str, dict[str, tuple[Digest, ...]]]:
    """SHA-256 of all bytes of ``view``, and of each file of ``jar``, which was opened on it, the digests in the
    algorithms ``wanted`` of it. One pass over the packed bytes; memory grows with the number of files alone.
    """
    found: dict[str, tuple[Digest, ...]] = {}
    view.begin()
    try:
        for member in sorted(jar.files.values(), key=lambda member: member.header):
            found[member.name] = _digests(view, jar, member, wanted[member.name])
        return view.sha256(), found
    except LimitError as problem:
        raise FormatError(problem.message, code=problem.code) from problem
    finally:
        view.close()


def _digests(view: HashedView, jar: Jar, member: Member, algorithms: Sequence[str]) -> tuple[Digest, ...]:
    running = [hashlib.new(algorithm) for algorithm in algorithms]
    much = member.size >= _MUCH
    for block in jar.archive.read(member):
        for one in running:
            if much:
                view.later(one.update, block)
            else:
                one.update(block)
    if much:
        view.wait()
    return tuple(Digest(name, one.digest()) for name, one in zip(algorithms, running, strict=True))
