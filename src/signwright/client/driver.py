# SPDX-License-Identifier: Apache-2.0
"""A driver package on disk: which files it has, its catalog, and the cabinet in which it is submitted."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from signwright.client.files import open_input, read_small
from signwright.client.inf import MAX_SIZE, read_inf
from signwright.client.results import RECEIPT_SUFFIX
from signwright.errors import FormatError, LimitError, UsageError
from signwright.formats.cab_writer import MAX_NAME, Packed, write_cabinet
from signwright.formats.catalog_content import MAX_FILES, CatalogFile, catalog_file, make_catalog, windows_version
from signwright.model.text import first_bad_character
from signwright.model.view import FileView

#: Characters that no file name has there; a backslash would lead into another folder.
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*\\]|[. ]$')
DRIVER, CATALOG, INF, SYMBOLS = ".sys", ".cat", ".inf", ".pdb"


@dataclass(frozen=True, slots=True)
class Package:
    """``files``: every file that goes along, by its path in ``folder``, without an older catalog; ``catalog``: name of
    the catalog, beside the INF; ``systems`` and ``hardware_ids``: what the catalog will say.
    """

    folder: Path
    inf: PurePosixPath
    catalog: str
    files: tuple[PurePosixPath, ...]
    systems: tuple[str, ...]
    hardware_ids: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.inf.stem

    @property
    def drivers(self) -> tuple[PurePosixPath, ...]:
        return tuple(file for file in self.files if file.suffix.lower() == DRIVER)


def read_package(folder: Path, *, systems: Sequence[str], hardware_ids: Sequence[str]) -> Package:
    """What lies in ``folder``. ``systems`` and ``hardware_ids``: instead of those in the INF. Raises `UsageError`."""
    files = sorted(_files(folder))
    if len(files) > MAX_FILES:
        raise UsageError(f"{folder}: more than {MAX_FILES} files", code="too-many-files")
    names = [str(file).casefold() for file in files]
    if len(set(names)) != len(names):
        raise UsageError(f"{folder}: two names that are one on Windows", code="same-name")
    infs = [file for file in files if file.suffix.lower() == INF]
    if len(infs) != 1 or len(infs[0].parts) != 1:
        raise UsageError(f"{folder}: {len(infs)} INF files; a driver package has one, at its top", code="bad-package")
    try:
        said = read_inf(read_small(folder / infs[0], MAX_SIZE))
    except (OSError, LimitError) as problem:
        raise UsageError(f"{folder / infs[0]}: {problem}", code="cannot-read") from problem
    others = [file for file in files if file.suffix.lower() == CATALOG and str(file).lower() != said.catalog.lower()]
    if others:
        raise UsageError(f"{folder}: {others[0]} is not the catalog that the INF names", code="bad-package")
    if any(len(_packed_name(infs[0].stem, file).encode()) > MAX_NAME for file in files):
        raise UsageError(f"{folder}: a path of more than {MAX_NAME} bytes, which no cabinet takes", code="bad-name")
    wanted = tuple(systems) or said.systems
    if not wanted:
        raise UsageError(f"{infs[0]} does not say for which Windows it is", code="unknown-os", hint="--os 10_X64")
    try:
        for name in wanted:
            windows_version(name)
    except FormatError as problem:
        raise UsageError(problem.message, code=problem.code, hint=problem.hint) from problem
    kept = tuple(file for file in files if file.suffix.lower() != CATALOG)
    return Package(folder, infs[0], said.catalog, kept, wanted, tuple(hardware_ids) or said.hardware_ids)


def _files(folder: Path) -> Iterator[PurePosixPath]:
    """Regular files without receipts; raises `UsageError` for links and anything else that is no file or folder."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", code="no-folder")
    for path, folders, names in os.walk(folder, onerror=_raise):
        for name in (*folders, *names):
            entry = Path(path) / name
            mode = entry.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UsageError(f"{entry}: neither a file nor a folder of its own", code="not-a-file")
            if first_bad_character(name) is not None or _NOT_ON_WINDOWS.search(name):
                raise UsageError(f"{folder}: {name!a} is no name on Windows", code="bad-name")
            if stat.S_ISREG(mode) and not name.endswith(RECEIPT_SUFFIX):
                yield PurePosixPath(entry.relative_to(folder).as_posix())


def _raise(problem: OSError) -> None:
    raise UsageError(f"{problem.filename}: {problem.strerror}", code="cannot-read") from problem


def copy_rest(package: Package, staged: Path) -> None:
    """Everything but the drivers, which signing puts there itself."""
    for file in package.files:
        target = staged / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix.lower() != DRIVER:
            with open_input(package.folder / file) as source, target.open("xb") as copy:
                shutil.copyfileobj(source, copy)


def read_members(package: Package, staged: Path, *, drivers: bool) -> list[CatalogFile]:
    """What the catalog will say of the drivers in ``staged``, or of the other files, symbols excepted. Raises
    `FormatError`.
    """
    wanted = [file for file in package.files if (file.suffix.lower() == DRIVER) is drivers]
    return [_member(staged, file) for file in wanted if file.suffix.lower() != SYMBOLS]


def _member(staged: Path, file: PurePosixPath) -> CatalogFile:
    with open_input(staged / file) as opened:
        return catalog_file(file.name, FileView(opened))


def write_catalog(package: Package, members: Sequence[CatalogFile], moment: datetime, target: Path) -> None:
    """The unsigned catalog. Raises `FormatError`."""
    content = make_catalog(members, systems=package.systems, hardware_ids=package.hardware_ids, moment=moment)
    target.write_bytes(content)


def write_submission(package: Package, staged: Path, moment: datetime, target: Path) -> None:
    """The unsigned cabinet: the package in one folder of its name, as the dashboard for drivers wants it."""
    names = sorted([*package.files, PurePosixPath(package.catalog)])
    packed = [Packed(_packed_name(package.name, name), _Named(staged / name)) for name in names]
    with target.open("xb") as out:
        write_cabinet(out, packed, moment=moment)


def _packed_name(package: str, file: PurePosixPath) -> str:
    return "\\".join((package, *file.parts))


class _Named:
    """A view of a file that is open only while it is read: packages may have more files than a process may open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    def read(self, offset: int, length: int) -> bytes:
        with open_input(self._path) as opened:
            return FileView(opened).read(offset, length)
