# SPDX-License-Identifier: Apache-2.0
"""``signwright orphans``: find signatures made with our keys that the log knows nothing of."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signwright.cli.console import colours, harmless, is_terminal, json_result, result, say, warn
from signwright.cli.hubs import hub_options, output_option, policy_of
from signwright.cli.log_source import LogSource, open_source
from signwright.cli.settings import output_format
from signwright.errors import MalformedError, SignwrightError, UsageError, VerificationError
from signwright.model.text import first_bad_character
from signwright.model.times import format_time, parse_time

if TYPE_CHECKING:
    from signwright.client.orphans.found import Found, Unread
    from signwright.client.orphans.scan import Event, Ours, Scan
    from signwright.client.orphans.walk import Closed, Entry, Walk

_PATH = click.Path(path_type=Path)
BEAT_SECONDS = 30.0


@click.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=_PATH)
@click.option(
    "--list", "listed", metavar="FILE", help="look at the files that FILE names, one path on a line; - reads stdin"
)
@click.option(
    "--log", "where", metavar="URL|DIR", help="the hub, or a copy of the log; default: the hub of the settings"
)
@click.option("--since", help="pass over what was timestamped before this time (RFC 3339, UTC)")
@click.option(
    "--certificate", "certificates", type=_PATH, multiple=True, help="only signatures by this certificate's key"
)
@click.option(
    "--key", "keys", metavar="FILE|SHA256", multiple=True, help="only by this public key (raw ones need the file)"
)
@click.option("--receipts", type=_PATH, help="folder of receipts, for results that the log lists in one digest")
@hub_options
@output_option
def command(
    paths: tuple[Path, ...],
    listed: str | None,
    where: str | None,
    since: str | None,
    certificates: tuple[Path, ...],
    keys: tuple[str, ...],
    receipts: Path | None,
    hub: str | None,
    credentials: Path | None,
    trust: Path | None,
    output: str | None,
) -> None:
    """Find signatures by our keys that are not in the log, in files, folders and zip archives.

    Our keys are those of the policy and every one that the log names, unless --certificate or --key says which. An
    orphan means that somebody used the key outside the service. Exit code 8 when there is one.
    """
    from signwright.client.orphans.extract import stamps_for
    from signwright.client.orphans.scan import Scan
    from signwright.client.orphans.walk import Walk

    if not paths and listed is None:
        raise UsageError("nothing to look at", code="no-files", hint="name files or folders, or --list FILE")
    as_json = output_format(output) == "json"
    after = _moment(since)
    source = open_source(where, hub=hub, credentials=credentials, trust=trust)
    scan = Scan(
        read=source.read,
        ours=_ours(source, certificates, keys),
        stamp_of=stamps_for(source.believed),
        now=datetime.now(UTC),
        since=after,
        seats=source.seats if source.caller is not None else None,
        receipts=receipts,
    )
    walk = Walk()
    with _progress(scan, walk) as shown:
        for event in scan.run(shown(walk.over(_paths(paths, listed)))):
            _show(event, as_json=as_json)
    _end(scan, walk, as_json=as_json)


def _ours(source: LogSource, certificates: tuple[Path, ...], keys: tuple[str, ...]) -> Ours:
    """Which keys are ours; raises `UsageError` when nothing says so."""
    import base64

    from signwright.client.orphans.ledger import keys_of
    from signwright.client.orphans.scan import Ours
    from signwright.model.digest import sha256_hex

    named = [_certificate_key(file) for file in certificates]
    digests = {key for key in keys if len(key) == 64 and not set(key) - set("0123456789abcdef")}
    named += [_public_key(Path(key)) for key in keys if key not in digests]
    if named or digests:
        return Ours(frozenset({*map(sha256_hex, named), *digests}), tuple(named))
    known = set()
    if source.caller is not None:
        policy = policy_of(source.caller.hub, source.believed)
        named = [base64.b64decode(key.public_key) for key in policy.keys.keys.values()]
        known = set(map(sha256_hex, named))
    else:
        warn("without the hub's policy only keys that the log names are known; raw signatures need --key FILE")
    log = source.read()
    known |= keys_of(log.all_leaves())
    if not known:
        raise UsageError("neither policy nor log names a key", code="no-keys", hint="--certificate FILE or --key FILE")
    say(f"{len(known)} keys are ours; the log has {log.checkpoint.size} leaves")
    return Ours(frozenset(known), tuple(named))


def _certificate_key(file: Path) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    content = _small(file, "certificate")
    try:
        pem = content.lstrip().startswith(b"-----BEGIN")
        certificate = x509.load_pem_x509_certificate(content) if pem else x509.load_der_x509_certificate(content)
    except (ValueError, x509.InvalidVersion) as problem:
        raise UsageError(f"certificate {file}: neither PEM nor DER", code="bad-certificate") from problem
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _public_key(file: Path) -> bytes:
    from signwright.cli.verify import read_public_key

    return read_public_key(file)


def _small(file: Path, what: str) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(1 << 20)
    except OSError as problem:
        raise UsageError(f"{what} {file}: {problem.strerror}", code="cannot-read") from problem


def _moment(text: str | None) -> datetime | None:
    try:
        return parse_time(text) if text is not None else None
    except MalformedError as problem:
        raise UsageError(f"--since: {problem.message}", code="bad-time") from problem


def _paths(paths: tuple[Path, ...], listed: str | None) -> Iterator[Path]:
    from signwright.client.orphans.walk import listed_paths

    yield from paths
    if listed is None:
        return
    if listed == "-":
        yield from listed_paths(sys.stdin.buffer)
        return
    try:
        with Path(listed).open("rb") as file:
            yield from listed_paths(file)
    except OSError as problem:
        raise UsageError(f"list {listed}: {problem.strerror}", code="cannot-read") from problem


@contextmanager
def _progress(scan: Scan, walk: Walk) -> Iterator[Any]:
    """A function that hands entries on and tells a person how far it is: a spinner, or a line every half minute."""

    def told() -> str:
        tally = scan.tally
        return f"{walk.files} files, {tally.ours} signatures by our keys, {tally.orphans} orphans"

    def lines(entries: Iterator[Entry | Closed | Unread]) -> Iterator[Entry | Closed | Unread]:
        last = time.monotonic()
        for entry in entries:
            if time.monotonic() - last > BEAT_SECONDS:
                last = time.monotonic()
                say(told())
            yield entry

    if not is_terminal():
        yield lines
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, no_color=not colours())
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task(told(), total=None)

        def spinning(entries: Iterator[Entry | Closed | Unread]) -> Iterator[Entry | Closed | Unread]:
            for entry in entries:
                progress.update(task, description=told())
                yield entry

        yield spinning


def _show(event: Event, *, as_json: bool) -> None:
    from signwright.client.orphans.found import Unread
    from signwright.client.orphans.scan import Forged, Orphan

    if isinstance(event, Orphan | Forged):
        kind = "orphan" if isinstance(event, Orphan) else "forged"
        text = event.text if isinstance(event, Orphan) else "the value was not made by our key"
        row = {"type": kind, **_row(event.found), "text": text}
        line = f"{kind.upper()} {_one_line(event.found.path)} {_facts(event.found)}: {text}"
    elif isinstance(event, Unread):
        row = {"type": "unread", "path": event.path, "code": event.code, "text": event.text}
        line = f"UNREAD {_one_line(event.path)}: {event.text} [{event.code}]"
    else:
        row = {"type": "closed", "path": event.path, "kind": event.kind}
        line = f"CLOSED {_one_line(event.path)}: {event.kind} files are not looked into"
    if as_json:
        json_result(row)
    else:
        result(line)


def _row(found: Found) -> dict[str, object]:
    stamp = found.stamp
    return {
        "path": found.path,
        "signature_sha256": found.value_sha256,
        "key": found.key,
        "certificate": found.certificate,
        "content": found.content,
        "time": format_time(stamp.time) if stamp else None,
        "time_by": stamp.authority if stamp else None,
    }


def _facts(found: Found) -> str:
    stamp = found.stamp
    by = f" by {stamp.authority}" if stamp and stamp.authority else " by nobody that is trusted"
    time_text = f"{format_time(stamp.time)}{by}" if stamp else "none"
    who = f"certificate {found.certificate}" if found.certificate else f"key {found.key}"
    return f"signature {found.value_sha256} {who} timestamp {time_text}"


def _one_line(path: str) -> str:
    """A name with a line break or the like in it stays one word of one line."""
    return path if first_bad_character(path) is None else harmless(ascii(path))


def _end(scan: Scan, walk: Walk, *, as_json: bool) -> None:
    """The last line, and the exit code: 8 for an orphan, else 1 when something could not be read."""
    tally = scan.tally
    counts = {name: getattr(tally, name) for name in tally.__dataclass_fields__}
    whole = not tally.unread and not tally.closed
    if as_json:
        row = {"type": "scan", "ok": not tally.orphans and not tally.unread, "files": walk.files, "links": walk.links}
        json_result({**row, **counts, "whole": whole})
    told = ", ".join(f"{number} {name}" for name, number in counts.items())
    say(f"{walk.files} files, {walk.links} links not followed: {told}")
    if tally.closed:
        warn(f"{tally.closed} packed files were not looked into: unpack them, and scan what comes out")
    if tally.orphans:
        if as_json:
            raise click.exceptions.Exit(8)  # the objects on stdout say it all
        raise VerificationError(
            f"{tally.orphans} signatures by our keys are not in the log",
            code="orphan",
            hint="halt signing; find out who used the key",
        )
    if tally.unread:
        if as_json:
            raise click.exceptions.Exit(1)
        raise SignwrightError(f"{tally.unread} files could not be read; there may be anything in them", code="unread")
