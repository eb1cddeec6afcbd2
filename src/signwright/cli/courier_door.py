# SPDX-License-Identifier: Apache-2.0
"""Words with the media courier over its own socket. The file is opened here and read or written there."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from signwright import errors
from signwright.cli.home import Home
from signwright.errors import SignwrightError, UnavailableError, UsageError
from signwright.model.framing import encode_frame, read_frame, reader

#: Without a word of the courier; it says at least every few seconds how far it is, but not while it waits for a disk.
SILENT_SECONDS = 900.0
#: Says how far it is: (what, done, of how many).
Watch = Callable[[str, int, int], None]
_KINDS = ("UsageError", "MalformedError", "LimitError", "VerificationError", "ConflictError", "ConfigurationError")


def export_to(home: Home, file: Path, watch: Watch) -> dict[str, Any]:
    """Have the courier write a bundle to ``file``, a new one of mode 0600; it is gone when that fails."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(file, flags, 0o600)
    except FileExistsError as problem:
        raise UsageError(f"{file} is there already; wanted a new file", code="exists") from problem
    except OSError as problem:
        raise UsageError(f"{file}: {problem.strerror}", code="cannot-write") from problem
    try:
        done = _ask(home, "export", descriptor, watch)
        os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(file)
        raise
    finally:
        os.close(descriptor)
    with contextlib.suppress(OSError):  # not every file system of a medium syncs folders
        folder = os.open(file.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    return done


def import_from(home: Home, file: Path, watch: Watch) -> dict[str, Any]:
    """Have the courier read ``file``: a regular one or a block device, no link."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    except OSError as problem:
        hint = "name the file or device itself" if os.path.islink(file) else None
        raise UsageError(f"{file}: {problem.strerror}", code="cannot-read", hint=hint) from problem
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise UsageError(f"{file}: neither a file nor a block device", code="not-a-file")
        return _ask(home, "import", descriptor, watch)
    finally:
        os.close(descriptor)


def ask_status(home: Home) -> dict[str, Any]:
    """What waits on this side."""
    return _ask(home, "status", None, lambda *_: None)


def _ask(home: Home, verb: str, descriptor: int | None, watch: Watch) -> dict[str, Any]:
    """The courier's last frame; raises what it refused with, and `UnavailableError` when it does not answer."""
    path = _socket(home)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(SILENT_SECONDS)
            door.connect(str(path))
            socket.send_fds(door, [b"."], [descriptor] if descriptor is not None else [])
            door.sendall(encode_frame({"verb": verb}))
            while (answer := read_frame(reader(door)).message).get("type") == "progress":
                watch(str(answer.get("what"))[:80], _number(answer.get("done")), _number(answer.get("of")))
    except (OSError, EOFError, SignwrightError) as problem:
        said = getattr(problem, "strerror", None) or str(problem)
        raise UnavailableError(
            f"the courier does not answer at {path}: {said}", code="no-courier", hint="is it running? signwright doctor"
        ) from problem
    if answer.pop("ok", None) is not True:
        raise _refusal(answer)
    answer.pop("type", None)
    return answer


def _refusal(answer: dict[str, Any]) -> SignwrightError:
    kind = str(answer.get("kind"))
    made: type[SignwrightError] = getattr(errors, kind) if kind in _KINDS else UnavailableError
    hint = answer.get("hint")
    return made(
        str(answer.get("message"))[:4000],
        code=str(answer.get("code"))[:60],
        hint=str(hint)[:400] if isinstance(hint, str) else None,
    )


def _socket(home: Home) -> Path:
    settings = home.settings("courier")
    try:
        media = tomllib.loads(settings.read_text(encoding="utf-8"))["media"]
        return settings.parent / str(media["socket"])
    except (OSError, ValueError) as problem:
        raise UsageError(f"{settings}: {problem}", code="bad-settings") from problem
    except (LookupError, TypeError) as problem:
        raise UsageError(
            f"{settings} has no table [media]: this courier does not carry media",
            code="no-media",
            hint="docs/air-gap.md",
        ) from problem


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
