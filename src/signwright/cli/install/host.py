# SPDX-License-Identifier: Apache-2.0
"""What ``install`` does to a machine: files, owners, users, commands. Each step looks first and says what it does."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from signwright.cli.console import say
from signwright.cli.install.layout import Owned
from signwright.client.files import replace_file
from signwright.errors import ConfigurationError

COMMAND_SECONDS = 600


@dataclass
class Host:
    """``root``: what counts as ``/``; ``dry``: say only; ``staging``: ``root`` is a folder that is carried elsewhere,
    so that no user, owner or service of this machine is touched.
    """

    root: Path
    dry: bool
    changed: list[str] = field(default_factory=list)
    not_done: list[str] = field(default_factory=list)

    @property
    def staging(self) -> bool:
        return self.root != Path("/")

    def at(self, path: str | Path) -> Path:
        """Where an absolute path of the finished machine is now."""
        return self.root / str(path).lstrip("/")

    def note(self, what: str) -> None:
        self.changed.append(what)
        say(("would " if self.dry else "") + what)

    def leave(self, what: str) -> None:
        """Something that somebody has to do elsewhere or later."""
        self.not_done.append(what)

    def place(self, path: str | Path, content: str, *, mode: int = 0o644) -> bool:
        """A file with this content; True when it was another before."""
        file, raw = self.at(path), content.encode()
        if file.is_file() and file.read_bytes() == raw and stat.S_IMODE(file.stat().st_mode) == mode:
            return False
        self.note(f"write {path}")
        if not self.dry:
            file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            replace_file(file, raw, mode=mode)
            file.chmod(mode)
        return True

    def folder(self, path: str | Path, mode: int) -> None:
        if not self.at(path).is_dir():
            self.note(f"make folder {path}")
            if not self.dry:
                self.at(path).mkdir(mode=mode, parents=True)

    def remove(self, path: str | Path) -> None:
        """A file whose content stands elsewhere now."""
        if self.at(path).exists():
            self.note(f"remove {path}")
            if not self.dry:
                self.at(path).unlink()

    def own(self, home: Path, row: Owned, *, except_below: tuple[str, ...] = ()) -> None:
        """Owner, group and mode of ``row`` and, if it is deep, of everything in it but ``except_below``.

        Every step starts from an open folder and follows no link: these folders belong to processes that may be
        hostile, and at work.
        """
        top = self.at(home / row.path)
        if not top.exists():
            return
        owner = (user_id(row.owner), group_id(row.group))
        others = {self.at(home / path) for path in except_below}
        self._own(top.name, top, owner, row.mode, folder=None)
        if not (row.deep and top.is_dir()):
            return
        for folder, folders, files, descriptor in os.fwalk(top, follow_symlinks=False):
            for name in sorted([*folders, *files]):
                path = Path(folder, name)
                if others.isdisjoint((path, *path.parents)):
                    self._own(name, path, owner, row.mode, folder=descriptor)

    def _own(self, name: str, path: Path, owner: tuple[int, int], mode: int, *, folder: int | None) -> None:
        """``name`` in the open ``folder``; ``path``: for words, and for the first one, which only root could replace.

        ``mode``: of folders; a file in one may have what `_reduced` says.
        """
        found = os.lstat(path) if folder is None else os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            raise ConfigurationError(f"{path} is a link; nothing in a home is one", code="link")
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            return
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags) if folder is None else os.open(name, flags, dir_fd=folder)
        try:
            self._own_open(descriptor, path, owner, mode if folder is None else None, mode)
        finally:
            os.close(descriptor)

    def _own_open(self, descriptor: int, path: Path, owner: tuple[int, int], exact: int | None, mode: int) -> None:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_nlink != 1:
            # Whoever may write here could have given another's file a second name, to be handed its ownership.
            raise ConfigurationError(f"{path} has {found.st_nlink} names; nothing in a home has", code="link")
        wanted = exact if exact is not None else _reduced(found.st_mode, mode)
        if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (*owner, wanted):
            return
        if not self.changed or not self.changed[-1].startswith("set owners below"):
            self.note(f"set owners below {path if stat.S_ISDIR(found.st_mode) else path.parent}")
        if not self.dry:
            os.fchown(descriptor, *owner)
            os.fchmod(descriptor, wanted)

    def run(self, words: str, command: Sequence[str], *, user: str | None = None) -> None:
        """Run a program to its end; raises `ConfigurationError` with its last line when it fails."""
        self.note(words)
        if self.dry:
            return
        as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
        done = subprocess.run(  # type: ignore[call-overload]
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **_proxies()},
            **as_user,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise ConfigurationError(
                f"{command[0]}: {said[-1] if said else f'exit status {done.returncode}'}", code="install-failed"
            )


def _reduced(found: int, mode: int) -> int:
    """What something in a folder of ``mode`` may have: its own permissions, less those that the folder denies."""
    if stat.S_ISDIR(found):
        return mode
    if mode & 0o005:
        return 0o644
    return (stat.S_IMODE(found) | 0o400) & mode & 0o600


def _proxies() -> dict[str, str]:
    """What the environment says about the way to a package index; for pip only."""
    names = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in (*names, "PIP_INDEX_URL", "PIP_CERT") if name in os.environ}


def user_id(name: str) -> int:
    """Raises `ConfigurationError` for one that does not exist."""
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigurationError(f"no user {name}", code="no-user") from None


def group_id(name: str) -> int:
    """Raises `ConfigurationError` for one that does not exist."""
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigurationError(f"no group {name}", code="no-user") from None


def has_user(name: str) -> bool:
    import pwd

    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def program(name: str) -> str | None:
    """Absolute path, also of what lies where only root's PATH leads."""
    return shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")


def systemd_runs() -> bool:
    """As sd_booted(3) tells it."""
    return Path("/run/systemd/system").is_dir()


def interpreter() -> tuple[Path, Path]:
    """(environment of this command, folder of the interpreter itself)."""
    return Path(sys.prefix), Path(sys.base_prefix)
