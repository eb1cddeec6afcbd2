# SPDX-License-Identifier: Apache-2.0
"""Where a log is read: from the hub, from a web server that hands its files to anybody, or from a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from signwright.cli import settings
from signwright.cli.hubs import Caller, call_key, caller_of, needed_trust
from signwright.errors import NotFoundError

if TYPE_CHECKING:
    from signwright.client.hub import Hub
    from signwright.client.log_reader import LogReader
    from signwright.client.trust import TrustFile


@dataclass(frozen=True, slots=True)
class LogSource:
    """``read``: the log behind the newest checkpoint, verified; ``caller``: None where there is no hub, and so neither
    policy nor receipts.
    """

    believed: TrustFile
    read: Callable[[], LogReader]
    caller: Caller | None

    def seats(self) -> Iterator[Hub]:
        """The hub as each of the caller's credentials sees it."""
        if self.caller is None:
            return
        for credential in self.caller.credentials:
            self.caller.hub.connection.use(call_key(credential))
            yield self.caller.hub
        if not self.caller.credentials:
            yield self.caller.hub


def open_source(
    where: str | None,
    *,
    hub: str | None,
    credentials: Path | None,
    trust: Path | None,
    key: Path | None = None,
    person: str | None = None,
) -> LogSource:
    """``where``: address of a hub or of another server, or a folder; None: the hub of the settings."""
    believed = needed_trust(trust)
    if where is None:
        return _of_hub(believed, caller_of(hub, credentials, key, person))
    parts = urlsplit(where)
    if parts.scheme not in ("http", "https"):
        from signwright.client.log_files import folder_files

        return LogSource(believed, _reader(believed, folder_files(Path(where))), None)
    if not parts.path.strip("/") and (key is not None or settings.setting("credentials", credentials) is not None):
        found = _of_hub(believed, caller_of(where, credentials, key, person))
        try:
            found.read()
            return found
        except NotFoundError:
            pass  # no hub, but a server that has the files
    return LogSource(believed, _reader(believed, _served(where)), None)


def _of_hub(believed: TrustFile, caller: Caller) -> LogSource:
    from signwright.client.log_reader import open_log

    hub = caller.hub
    return LogSource(believed, lambda: open_log(believed.log_trust, hub.checkpoint(), hub.log_file), caller)


def _served(url: str) -> Callable[[str], bytes]:
    from signwright.client.http import HubConnection
    from signwright.client.log_files import served_files

    connection = HubConnection(url, None)
    click.get_current_context().call_on_close(connection.close)
    return served_files(connection, "")


def _reader(believed: TrustFile, read_file: Callable[[str], bytes]) -> Callable[[], LogReader]:
    from signwright.client.log_files import CHECKPOINT
    from signwright.client.log_reader import open_log

    return lambda: open_log(believed.log_trust, read_file(CHECKPOINT), read_file)
