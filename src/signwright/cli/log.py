# SPDX-License-Identifier: Apache-2.0
"""``signwright log``: read the transparency log. The hub hands it out; only the trust file is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signwright.cli.console import json_result, result, say
from signwright.cli.hubs import hub_options, output_option
from signwright.cli.settings import output_format
from signwright.errors import UsageError

if TYPE_CHECKING:
    from signwright.client.log_reader import LogReader
    from signwright.client.trust import TrustFile

_PATH = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Read the transparency log."""


def read_log(hub: str | None, credentials: Path | None, trust: Path | None) -> tuple[LogReader, TrustFile]:
    """The log behind the hub's newest checkpoint, which is verified."""
    from signwright.cli.hubs import credentials_of, machine_hub, needed_trust
    from signwright.client.log_reader import open_log

    believed = needed_trust(trust)
    caller = machine_hub(hub, credentials_of(credentials))
    return open_log(believed.log_trust, caller.checkpoint(), caller.log_file), believed


@command.command()
@click.option("--from", "first", type=click.IntRange(0), help="first leaf; default: the newest --limit ones")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@hub_options
@output_option
def show(
    first: int | None, limit: int, hub: str | None, credentials: Path | None, trust: Path | None, output: str | None
) -> None:
    """Print leaves, each proved against the checkpoint."""
    from signwright.errors import SignwrightError
    from signwright.transparency.leaf import parse_leaf

    log, _ = read_log(hub, credentials, trust)
    start = max(0, log.checkpoint.size - limit) if first is None else first
    rows = []
    for index, content in log.leaves(start, start + limit):
        try:
            leaf = parse_leaf(content).model_dump(mode="json")
        except SignwrightError as problem:
            leaf = {"type": "unreadable", "problem": problem.message}
        rows.append({"index": index, **leaf})
    if output_format(output) == "json":
        json_result({"origin": log.checkpoint.origin, "size": log.checkpoint.size, "leaves": rows})
        return
    for row in rows:
        result(_line(row))
    say(f"{log.checkpoint.origin}: size {log.checkpoint.size}, {_witnesses(log)}")


def _line(row: dict[str, object]) -> str:
    rest = {k: v for k, v in row.items() if k not in ("index", "type", "v", "time", "signing_time")}
    time = row.get("time") or row.get("signing_time") or ""
    shown = " ".join(f"{name}={_short(value)}" for name, value in rest.items() if value not in ([], None, ""))
    return f"{row['index']:>6} {row['type']:<10} {time} {shown}".rstrip()


def _short(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_short, value))
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    return f"{text[:12]}…" if len(text) == 64 else text


def _witnesses(log: LogReader) -> str:
    cosigned = log.witnessed.cosigned
    return f"witnesses outside {cosigned.outside} / local {cosigned.local}"


@command.command()
@click.argument("which", metavar="INDEX|RECEIPT")
@click.option("-o", "--out", type=_PATH, help="write the tlog-proof to this file")
@hub_options
@output_option
def proof(
    which: str, out: Path | None, hub: str | None, credentials: Path | None, trust: Path | None, output: str | None
) -> None:
    """The inclusion proof of a leaf (c2sp.org/tlog-proof): by its index, or all of a receipt's intents."""
    from signwright.client.files import check_output, replace_file

    log, _ = read_log(hub, credentials, trust)
    wanted = [(int(which), None)] if which.isascii() and which.isdigit() else _of_receipt(Path(which))
    if out is not None and len(wanted) != 1:
        raise UsageError(f"the receipt has {len(wanted)} intents; -o names one file", code="usage")
    rows = []
    for index, expected in wanted:
        content, found = log.proof(index)
        if expected is not None and content != expected:
            from signwright.errors import VerificationError

            raise VerificationError(f"leaf {index} of the log is not the receipt's", code="wrong-intent")
        rows.append({"index": index, "leaf": content.decode(), "proof": found.encode().decode()})
        if out is not None:
            check_output(out)
            replace_file(out, found.encode())
    if output_format(output) == "json":
        json_result({"proofs": rows})
        return
    for row in rows:
        result(str(row["leaf"]))
        if out is None:
            click.echo(str(row["proof"]), nl=False)
    say(f"in the log of size {log.checkpoint.size}, {_witnesses(log)}")


def _of_receipt(file: Path) -> list[tuple[int, bytes | None]]:
    from signwright.client.subject import load_bundle
    from signwright.transparency.proof import TlogProof

    waves = load_bundle(file).waves
    return [(TlogProof.parse(wave.intent.proof_text()).index, wave.intent.leaf_bytes()) for wave in waves]


@command.command()
@hub_options
@output_option
def check(hub: str | None, credentials: Path | None, trust: Path | None, output: str | None) -> None:
    """Verify the newest checkpoint, that it continues the one seen last, and every entry of the log."""
    from signwright.client.seen_log import follow_log

    log, believed = read_log(hub, credentials, trust)
    seen = follow_log(believed.log_trust, log.note, log.read_file)
    count = sum(1 for _ in log.all_leaves())
    if output_format(output) == "json":
        json_result({"origin": seen.origin, "size": seen.size, "root": seen.root, "leaves": count})
        return
    result(f"ok      {seen.origin}: {count} leaves make root {seen.root[:16]}…, {_witnesses(log)}")
