# SPDX-License-Identifier: Apache-2.0
"""The media courier's private folder: blobs by digest, the files of the log, and bundles on their way in.

A bundle is copied and checked whole, into a folder of its own that is gone when anything is wrong with it. Only then do
its blobs take their places; nothing is ever half there.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from signwright.errors import LimitError, MalformedError, UnavailableError, VerificationError
from signwright.model.operation import Strict
from signwright.signer.courier.media.bundle import BLOCK, LIMITS, Manifest, Read, Side, read_blob, read_manifest
from signwright.signer.courier.media.index import CHECKPOINT, LogFile, OutsideIndex, VaultIndex, check_complete
from signwright.statements.parse import parse_model
from signwright.transparency.tiles import HEIGHT, WIDTH, Tile

#: Free space that a bundle must leave on the disk.
SPARE = 256 << 20
_SHA256 = re.compile("[0-9a-f]{64}")
_CHECKPOINT_PATH = "checkpoint"
M = TypeVar("M", bound=Strict)
#: Hears (bytes so far, bytes in all).
Watch = Callable[[int, int], None]


class _Serial(Strict):
    last: int


@dataclass(frozen=True, slots=True)
class Landed:
    """A bundle that was read whole. Its blobs are in the store."""

    manifest: Manifest
    index: OutsideIndex | VaultIndex


class MediaStore:
    """``folder``: mode 0700, made when it is missing. Raises `UnavailableError` when the disk does not do it."""

    def __init__(self, folder: Path) -> None:
        self._blobs, self._log, self._incoming = folder / "blobs", folder / "log", folder / "incoming"
        self.folder = folder
        try:
            for path in (folder, self._blobs, self._log):
                path.mkdir(mode=0o700, exist_ok=True)
            shutil.rmtree(self._incoming, ignore_errors=True)  # of a process that ended in the middle
            self._incoming.mkdir(mode=0o700)
        except OSError as problem:
            raise UnavailableError(f"media folder {folder}: {problem.strerror}", code="media-folder") from problem

    # ── bundles ─────────────────────────────────────────────────────────────────────────────────────────────────

    def land(
        self,
        read: Read,
        *,
        side: Side,
        key: str,
        total: int,
        watch: Watch,
        check_end: Callable[[], None] = lambda: None,
    ) -> Landed:
        """Read a bundle of ``side`` to its end; raises what is wrong with it, and then nothing of it is here.

        ``check_end``: called once everything was read, raises when there is more that must not be.
        """
        manifest = read_manifest(read, side=side, key=key, total=total)
        free = shutil.disk_usage(self._incoming).free
        if manifest.total + SPARE > free:
            raise LimitError(f"bundle: {manifest.total} bytes; the disk has {free} free", code="no-space")
        try:
            with tempfile.TemporaryDirectory(dir=self._incoming) as folder:
                done = 0
                for number, row in enumerate(manifest.rows):
                    with open(Path(folder, str(number)), "xb") as file:
                        read_blob(read, row, file.write)
                    done += row.size
                    watch(done, manifest.total)
                check_end()
                index = _index(manifest, Path(folder))
                for number, row in enumerate(manifest.rows):
                    os.replace(Path(folder, str(number)), self._blobs / row.sha256)
        except OSError as problem:
            raise UnavailableError(f"bundle: it cannot be stored: {problem.strerror}", code="media-folder") from problem
        return Landed(manifest, index)

    # ── blobs ───────────────────────────────────────────────────────────────────────────────────────────────────

    def has(self, sha256: str) -> bool:
        return self._place(sha256).is_file()

    def size(self, sha256: str) -> int:
        return self._place(sha256).stat().st_size

    def read(self, sha256: str, role: str) -> bytes:
        """A blob that fits into memory; raises `MalformedError` when it is not here."""
        try:
            with open(self._place(sha256), "rb") as file:
                content = file.read(LIMITS[role] + 1)
        except OSError as problem:
            raise MalformedError(f"{role} {sha256[:16]}… is on no medium", code="no-blob") from problem
        if len(content) > LIMITS[role] or hashlib.sha256(content).hexdigest() != sha256:
            raise VerificationError(f"{role} {sha256[:16]}… was changed on the disk", code="blob-changed")
        return content

    def put(self, content: bytes) -> str:
        """Keep ``content``; its digest."""
        sha256 = hashlib.sha256(content).hexdigest()
        if not self.has(sha256):
            _write(self._place(sha256), content)
        return sha256

    async def fill(self, sha256: str, size: int, blocks: AsyncIterator[bytes]) -> None:
        """Keep a blob that comes in pieces; raises `VerificationError` when it is another."""
        digest, left = hashlib.sha256(), size
        with tempfile.TemporaryDirectory(dir=self._incoming) as folder:
            draft = os.path.join(folder, "artifact")
            with open(draft, "xb") as file:  # noqa: ASYNC230 - the daemon has nothing else to do meanwhile
                async for block in blocks:
                    digest.update(block)
                    left -= len(block)
                    if left < 0:
                        break
                    file.write(block)
            if left or digest.hexdigest() != sha256:
                raise VerificationError(f"artifact {sha256[:16]}…: other bytes came", code="artifact-mismatch")
            os.replace(draft, self._place(sha256))

    def blocks(self, sha256: str) -> Iterator[bytes]:
        with open(self._place(sha256), "rb") as file:
            while block := file.read(BLOCK):
                yield block

    async def stream(self, sha256: str) -> AsyncIterator[bytes]:
        """The same for a caller that waits between blocks."""
        for block in self.blocks(sha256):
            yield block

    def keep_only(self, wanted: set[str]) -> None:
        """Remove every other blob."""
        for path in self._blobs.iterdir():
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    def _place(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise MalformedError("not a SHA-256 in hex", code="bad-digest")
        return self._blobs / sha256

    # ── the log ─────────────────────────────────────────────────────────────────────────────────────────────────

    def write_log(self, path: str, content: bytes) -> None:
        """A file of the log, under the path that the gate gives; raises `MalformedError` for what is none."""
        if path != _CHECKPOINT_PATH:
            Tile.parse(path)
        place = self._log / path
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(place, content)

    def log_files(self, published: int, *, most: int) -> tuple[list[LogFile], int]:
        """Every file that a hub with the first ``published`` leaves does not have, as blobs, the checkpoint last; and
        how many leaves the hub has the files of afterwards.

        With more than ``most`` the files of the first leaves come, and no checkpoint.
        """
        found = sorted((_end(tile), tile.path) for tile in self._widest() if _end(tile) > published)
        taken, left = found[:most], found[most:]
        rows = [self._file(Tile.parse(path)) for _, path in taken]
        if left:
            return rows, max(published, left[0][0] - 1)
        if (self._log / _CHECKPOINT_PATH).is_file():
            rows.append(LogFile(level=CHECKPOINT, index=0, width=1, content=self._kept(self._log / _CHECKPOINT_PATH)))
        return rows, max([published, *(end for end, _ in taken)])

    def _widest(self) -> list[Tile]:
        """Of each tile the file with the most in it; the others are removed."""
        tiles: dict[tuple[int, int], Tile] = {}
        for place in [path for path in self._log.rglob("*") if path.is_file()]:
            name = place.relative_to(self._log).as_posix()
            if name == _CHECKPOINT_PATH or name.endswith(".new"):
                continue
            tile = Tile.parse(name)
            other = tiles.get((tile.level, tile.index))
            if other is None or other.width < tile.width:
                tiles[tile.level, tile.index] = tile
            narrower = other if other is not None and other.width < tile.width else tile if other else None
            if narrower is not None:
                (self._log / narrower.path).unlink()
        return list(tiles.values())

    def _file(self, tile: Tile) -> LogFile:
        content = self._kept(self._log / tile.path)
        return LogFile(level=tile.level, index=tile.index, width=tile.width, content=content)

    def _kept(self, place: Path) -> str:
        return self.put(place.read_bytes())

    # ── what has to outlive a restart ───────────────────────────────────────────────────────────────────────────

    def load(self, name: str, model: type[M]) -> M | None:
        """A file of our own; None before the first, and for one that does not read: everything in it comes again."""
        try:
            return parse_model(model, (self.folder / name).read_bytes(), limit=LIMITS["index"])
        except (OSError, MalformedError, LimitError):
            return None

    def next_serial(self) -> int:
        """Larger than every one before, whatever became of the clock; durable before a bundle bears it."""
        before = self.load("serial.json", _Serial)
        serial = max(time.time_ns(), before.last + 1 if before is not None else 0)
        self.save("serial.json", _Serial(last=serial))
        return serial

    def save(self, name: str, content: Strict) -> None:
        _write(self.folder / name, content.model_dump_json().encode())


def _end(tile: Tile) -> int:
    """Leaves of a tree that has this tile and nothing behind it."""
    return (tile.index * WIDTH + tile.width) << (HEIGHT * max(tile.level, 0))


def log_path(file: LogFile) -> str:
    """Where a file of the log stands on every mirror."""
    return _CHECKPOINT_PATH if file.level == CHECKPOINT else Tile(file.level, file.index, file.width).path


@contextmanager
def open_descriptor(descriptor: int, mode: str) -> Iterator[BinaryIO]:
    """The file behind a descriptor, which is closed in the end."""
    with os.fdopen(descriptor, mode) as file:
        yield file  # type: ignore[misc]


def _index(manifest: Manifest, folder: Path) -> OutsideIndex | VaultIndex:
    places = [number for number, row in enumerate(manifest.rows) if row.role == "index"]
    if len(places) != 1:
        raise MalformedError(f"bundle: {len(places)} blobs of role index; wanted one", code="bad-index")
    content = (folder / str(places[0])).read_bytes()
    model: type[OutsideIndex | VaultIndex] = OutsideIndex if manifest.side == "outside" else VaultIndex
    index = parse_model(model, content, limit=LIMITS["index"])
    check_complete(index, manifest)
    return index


def _write(place: Path, content: bytes) -> None:
    draft = place.with_name(f"{place.name}.new")
    try:
        with open(draft, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, place)
    except OSError as problem:
        raise UnavailableError(f"media folder: {problem.strerror}", code="media-folder") from problem
