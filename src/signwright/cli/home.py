# SPDX-License-Identifier: Apache-2.0
"""A home: the folder of one small installation, made by ``init``, run by ``up``. What lies where, and nothing else."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from signwright.client.files import read_small, replace_file, write_private
from signwright.errors import ConfigurationError, SignwrightError, UsageError
from signwright.model.operation import Strict
from signwright.statements.parse import MAX_STATEMENT, parse_model

#: Processes of a home that listen on a Unix socket.
SOCKETS = ("gate", "scanner")


class HomeFile(Strict):
    """``home.json``: what ``up`` and ``doctor`` need to know. ``release_store``: ``software`` or a PKCS #11 URI;
    ``folder``: where it was made; ``sockets``: a short folder for Unix sockets, there while the home is up, when its
    own is too deep in the tree.
    """

    format: Literal["signwright-home/1"] = "signwright-home/1"
    organisation: str
    url: str
    trial: bool
    release_store: str
    policy_root_sha256: str
    signer_env: str | None = None
    folder: str | None = None
    sockets: str | None = None


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below ``folder``, which is absolute."""

    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def settings(self, process: str) -> Path:
        return self.folder / "settings" / f"{process}.toml"

    @property
    def description(self) -> Path:
        return self.folder / "home.json"

    @property
    def genesis(self) -> Path:
        """There from ``init`` until the signer's first start made its state; never again."""
        return self.folder / "signer" / "genesis"

    @property
    def wants_genesis(self) -> bool:
        """The signer has to make its state. A first `up` that failed later on may have made all of it already."""
        made = [self.folder / "signer" / name for name in ("keyholder/keyholder.sqlite3", "gate/gate.sqlite3")]
        return self.genesis.exists() and not all(file.exists() for file in made)

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def read(self) -> HomeFile:
        """Raises `UsageError` when this is no home."""
        try:
            return parse_model(HomeFile, read_small(self.description, MAX_STATEMENT))
        except OSError as problem:
            raise UsageError(
                f"{self.folder}: not a home ({problem.strerror})", code="no-home", hint="signwright init --home DIR"
            ) from problem
        except SignwrightError as problem:
            raise ConfigurationError(f"{self.description}: {problem.message}", code="bad-home") from problem

    def write(self, name: str, content: str | bytes) -> Path:
        """A file that everybody on the machine may read; its folder is made."""
        path = self._path(name)
        replace_file(path, content.encode() if isinstance(content, str) else content, mode=0o644)
        return path

    def write_secret(self, name: str, content: str | bytes) -> Path:
        """A file of mode 0600."""
        path = self._path(name)
        write_private(path, content.encode() if isinstance(content, str) else content)
        return path

    def _path(self, name: str) -> Path:
        path = self.folder / name
        for folder in reversed([p for p in path.parents if p == self.folder or self.folder in p.parents]):
            folder.mkdir(mode=0o700, exist_ok=True)
        return path

    def open_sockets(self, described: HomeFile) -> None:
        """Make the short folder for sockets, if the home has one; `ConfigurationError` when it is somebody else's."""
        if described.sockets is None:
            return
        try:
            os.makedirs(described.sockets, mode=0o700, exist_ok=True)
            found = os.lstat(described.sockets)
        except OSError as problem:
            raise ConfigurationError(f"{described.sockets}: {problem.strerror}", code="bad-socket") from problem
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise ConfigurationError(
                f"{described.sockets} is not a folder that is ours alone",
                code="bad-socket",
                hint="another user of this machine may have made it; remove it, then up",
            )

    def close_sockets(self, described: HomeFile) -> None:
        """Remove that folder and the sockets in it, once nothing of the home runs any more."""
        if described.sockets is None:
            return
        with contextlib.suppress(OSError):  # not there, or somebody else's
            for name in SOCKETS:
                Path(described.sockets, f"{name}.sock").unlink(missing_ok=True)
            os.rmdir(described.sockets)

    def check_place(self, described: HomeFile) -> None:
        """Settings name whole paths: a copy would run on the original's keys and state. `ConfigurationError`."""
        made = described.folder
        if made is None or (os.path.isdir(made) and os.path.samefile(made, self.folder)):
            return
        raise ConfigurationError(
            f"this home was made in {made}, and its settings name that folder",
            code="home-moved",
            hint=f"move it back, or change every path in {self.folder}/settings, env and home.json",
        )


def home_of(flag: Path | None) -> Home:
    """The home from ``--home`` or SIGNWRIGHT_HOME; raises `UsageError` without either."""
    named = flag or (Path(os.environ["SIGNWRIGHT_HOME"]) if os.environ.get("SIGNWRIGHT_HOME") else None)
    if named is None:
        raise UsageError("no home given", code="no-home", hint="--home DIR, or SIGNWRIGHT_HOME")
    return Home(named.absolute())


def new_home(folder: Path) -> Home:
    """An empty folder of mode 0700; raises `UsageError` when something is there already."""
    home = Home(folder.absolute())
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder}: not a folder", code="bad-home")
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} is not empty", code="home-not-empty", hint="an existing home is never changed by init"
        )
    try:
        home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.folder.chmod(0o700)
    except OSError as problem:
        raise UsageError(f"{folder}: {problem.strerror}", code="bad-home") from problem
    return home
