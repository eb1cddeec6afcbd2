# SPDX-License-Identifier: Apache-2.0
"""Secrets that the service manager hands over (systemd.exec(5), ``LoadCredential=``), made fit for the keyholder.

The manager writes them anew at every start, readable through an access list that shows as group permission. The
keyholder wants a file of mode 0400, and must recognise a PIN that was refused before: it is offered once, not once
after every restart. So each is copied, and the copy's times are set to a number that follows from its content and from
a salt of this machine. They tell one version from the next, and nothing else.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from signwright.errors import ConfigurationError

MAX_CREDENTIAL = 4096
_SALT_BYTES = 32
#: Times stay within what every file system can hold.
_YEARS_NS = 1 << 60


def take_credentials(source: Path, target: Path, *, salt_file: Path) -> int:
    """Copy every credential in ``source`` into the folder ``target``; how many. Raises `ConfigurationError`."""
    try:
        salt = _salt(salt_file)
        files = sorted(path for path in source.iterdir() if path.is_file())
        for file in files:
            _copy(file, target / file.name, salt=salt)
    except OSError as problem:
        raise ConfigurationError(f"credentials in {source}: {problem}", code="bad-credentials") from problem
    return len(files)


def _salt(file: Path) -> bytes:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_bytes()
    with open(descriptor, "wb") as opened:
        opened.write(secrets.token_bytes(_SALT_BYTES))
        opened.flush()
        os.fsync(opened.fileno())
    return file.read_bytes()


def _copy(source: Path, target: Path, *, salt: bytes) -> None:
    with source.open("rb") as opened:
        content = opened.read(MAX_CREDENTIAL + 1)
    if len(content) > MAX_CREDENTIAL:
        raise ConfigurationError(f"credential {source.name}: more than {MAX_CREDENTIAL} bytes", code="bad-credentials")
    version = int.from_bytes(hmac.digest(salt, content, "sha256")[:8]) % _YEARS_NS
    draft = target.with_name(f".{target.name}.new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as opened:
        opened.write(content)
    os.utime(draft, ns=(version, version))
    draft.replace(target)
