# SPDX-License-Identifier: Apache-2.0
"""The log's files: tiles and entry bundles under one folder, each written beside its place, synced and renamed
into it.
"""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from signwright.errors import UnavailableError
from signwright.transparency.merkle import HASH_SIZE
from signwright.transparency.tiles import ENTRIES, HEIGHT, LEVELS, WIDTH, Tile, bundle_entry, parse_bundle

_CACHED = 512


class TileFiles:
    """Reads and writes by the path that a `Tile` has. Raises `UnavailableError` when the disk does not do it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache: OrderedDict[str, bytes] = OrderedDict()

    def write(self, tiles: Mapping[str, bytes]) -> None:
        """Write files so that they are durable when this returns."""
        folders: set[Path] = set()
        try:
            for path, content in tiles.items():
                place = self._folder / path
                folders |= _made_folders(place.parent, self._folder)
                _write_synced(place, content)
                folders.add(place.parent)
            for folder in folders:
                _sync_folder(folder)
        except OSError as problem:
            raise UnavailableError(f"log: a tile cannot be written: {problem.strerror}", code="log-disk") from problem
        for path, content in tiles.items():
            self._remember(path, content)

    def read(self, path: str) -> bytes:
        """A tile's bytes. A partial tile that was pruned is cut from the full one."""
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        try:
            content = self._read_file(path)
        except OSError as problem:
            raise UnavailableError(f"log: {path}: {problem.strerror}", code="log-disk") from problem
        self._remember(path, content)
        return content

    def prune(self, path: str) -> None:
        """Drop the partial forms of the full tile at ``path``; nobody needs them any more."""
        shutil.rmtree(self._folder / f"{path}.p", ignore_errors=True)

    def _read_file(self, path: str) -> bytes:
        try:
            return (self._folder / path).read_bytes()
        except FileNotFoundError:
            tile = Tile.parse(path)
            if tile.width == WIDTH:
                raise
            content = (self._folder / Tile(tile.level, tile.index).path).read_bytes()
            if tile.level == ENTRIES:
                return b"".join(bundle_entry(entry) for entry in parse_bundle(content, WIDTH)[: tile.width])
            return content[: tile.width * HASH_SIZE]

    def _remember(self, path: str, content: bytes) -> None:
        self._cache[path] = content
        while len(self._cache) > _CACHED:
            self._cache.popitem(last=False)


def files_between(old_size: int, size: int) -> list[str]:
    """Paths of the tiles and bundles that a tree of ``size`` leaves has and one of ``old_size`` did not have."""
    paths = []
    for level in (ENTRIES, *range(LEVELS)):
        shift = HEIGHT * max(level, 0)
        first, (full, width) = (old_size >> shift) // WIDTH, divmod(size >> shift, WIDTH)
        paths += [Tile(level, index).path for index in range(first, full)]
        if width and size >> shift != old_size >> shift:
            paths.append(Tile(level, full, width).path)
    return paths


def _made_folders(folder: Path, top: Path) -> set[Path]:
    """Make ``folder`` and return those whose list of names changed by it."""
    missing = []
    while not folder.is_dir() and folder != top:
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
    return {one.parent for one in missing}


def _write_synced(place: Path, content: bytes) -> None:
    draft = place.with_name(f"{place.name}.new")
    with open(draft, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, place)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
