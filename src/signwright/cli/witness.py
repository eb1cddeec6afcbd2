# SPDX-License-Identifier: Apache-2.0
"""``signwright witness``: run a witness for somebody else's log, or take somebody else's witness into our policy."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signwright.cli.console import json_result, result, say, warn
from signwright.cli.hubs import output_option
from signwright.cli.settings import output_format
from signwright.errors import ConfigurationError, SignwrightError, UsageError

if TYPE_CHECKING:
    from signwright.client.witness_lines import WitnessLine

_PATH = click.Path(path_type=Path)
_FOLDER = click.option(
    "--folder",
    type=_PATH,
    default=Path("witness"),
    show_default=True,
    help="folder of the witness: key, state, settings",
)
SETTINGS, LINE = "witness.toml", "public-line"


@click.group()
def command() -> None:
    """Run a witness, or have one cosign our log.

    A witness keeps the newest checkpoint of each log that it knows and cosigns only what continues it. It is worth
    something when another operator runs it on a machine of their own.
    """


@command.command()
@_FOLDER
@click.option("--name", required=True, help="in cosignatures, like an address: witness.example/w1")
@click.option("--operator", required=True, help="who runs it: your organisation, as others know it")
@click.option("--url", required=True, help="where logs reach it (a TLS server of yours in front of --listen)")
@click.option("--listen", default="127.0.0.1:8461", show_default=True, metavar="HOST:PORT")
def init(folder: Path, name: str, operator: str, url: str, listen: str) -> None:
    """Make key and state in an empty folder; print the public line for those whose log it will cosign."""
    from signwright.cli.processes import run_helper
    from signwright.cli.settings_text import q
    from signwright.client.files import replace_file
    from signwright.client.witness_lines import WitnessLine, name_from

    host, port = _address(listen)
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", code="not-empty", hint="a witness's key and state are made once")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = (
        "# A witness: cosigns the checkpoints of the logs below, each of which only ever grows.\n"
        "# Its state must never be lost or restored from an older copy: then make a new witness, with a new key.\n"
        f"name = {q(name)}\noperator = {q(operator)}\nurl = {q(url)}\n"
        'key_file = "witness.key"\ndatabase = "witness.sqlite3"\n'
        f"host = {q(host)}\nport = {port}\n"
    )
    try:
        replace_file(folder / SETTINGS, text.encode(), mode=0o644)
        key = run_helper("signwright.witness", ["--settings", str(folder / SETTINGS), "--create"]).strip()
        line = WitnessLine(name_from(name), key, url.rstrip("/"), operator)
    except SignwrightError:
        for file in folder.iterdir():
            file.unlink()
        raise
    replace_file(folder / LINE, f"{line}\n".encode(), mode=0o644)
    result(str(line))
    say("give this line to the log's operator, who runs: signwright witness join 'LINE'")
    say(f"then add their log: signwright witness add --folder {folder} 'log ORIGIN KEY'; and: signwright witness run")


@command.command()
@_FOLDER
@click.argument("line", metavar="LINE")
def add(folder: Path, line: str) -> None:
    """Cosign one more log: LINE is ``log ORIGIN KEY``, as the log's operator's ``witness join`` printed it."""
    from signwright.cli.settings_text import q
    from signwright.client.files import replace_file
    from signwright.client.witness_lines import LogLine

    log, file = LogLine.parse(line), folder / SETTINGS
    settings = _settings(folder)
    logs = settings.get("logs", [])
    if any(row["origin"] == log.origin for row in logs):
        raise UsageError(f"{file}: log {log.origin!r} is there already", code="exists", hint="edit the file by hand")
    text = file.read_text(encoding="utf-8").rstrip("\n")
    text += f"\n\n[[logs]]\norigin = {q(log.origin)}\nkeys = [{q(log.key)}]\n"
    if tomllib.loads(text) != {**settings, "logs": [*logs, {"origin": log.origin, "keys": [log.key]}]}:
        raise UsageError(f"{file}: written in a way that cannot be added to here", code="edit-by-hand")
    replace_file(file, text.encode())
    say(f"{log.origin}: compare its key with its operator by another way; a witness that runs reads it when restarted")


@command.command()
@_FOLDER
def run(folder: Path) -> None:
    """Serve until it is ended; prints ``ready URL``. TLS is the business of a server in front of it."""
    import os
    import subprocess

    from signwright.cli.processes import PYTHON

    if not _settings(folder).get("logs"):
        warn("no log to cosign yet: signwright witness add")
    command_line = [*PYTHON, "signwright.witness", "--settings", str(folder / SETTINGS)]
    if os.name == "posix":
        os.execv(command_line[0], command_line)  # noqa: S606 - no shell: the program and its arguments are ours
    raise click.exceptions.Exit(subprocess.call(command_line))


@command.command()
@_FOLDER
@output_option
def show(folder: Path, output: str | None) -> None:
    """Print the public line, and what the running witness cosigned last of each log."""
    from signwright.client.witness_latest import latest_of
    from signwright.client.witness_lines import WitnessLine
    from signwright.transparency.note import VerifierKey

    settings, line = _settings(folder), WitnessLine.parse(_read(folder / LINE))
    host = f"[{settings['host']}]" if ":" in settings["host"] else settings["host"]
    rows: list[dict[str, Any]] = []
    for log in settings.get("logs", []):
        keys = tuple(VerifierKey.parse(key) for key in log["keys"])
        url = f"http://{host}:{settings['port']}"
        try:
            found = latest_of(url, line.verifier, origin=log["origin"], log_keys=keys)
            rows.append({"origin": log["origin"], "size": found.size, "problem": None})
        except SignwrightError as problem:
            rows.append({"origin": log["origin"], "size": None, "problem": problem.message})
    if output_format(output) == "json":
        json_result({"line": str(line), "logs": rows})
        return
    result(str(line))
    for row in rows:
        said = f"size {row['size']}" if row["problem"] is None else row["problem"]
        result(f"log     {row['origin']}: {said}")


@command.command()
@click.argument("line", metavar="[LINE]", required=False)
@click.option("--name", help="its name in our policy, for a witness that has no such line")
@click.option("--key", help="its verifier key: name+hash+base64")
@click.option("--url", help="prefix of its calls")
@click.option("--operator", help="who runs it; never ourselves")
@click.option(
    "--outside", type=click.IntRange(1, 16), help="from now on demand cosignatures of so many outside operators"
)
@click.option("--home", type=_PATH, help="home directory; default: SIGNWRIGHT_HOME")
def join(
    line: str | None,
    name: str | None,
    key: str | None,
    url: str | None,
    operator: str | None,
    outside: int | None,
    home: Path | None,
) -> None:
    """Have an outside witness cosign our log. LINE is what its operator's ``witness init`` printed.

    Writes it into policy/services.yaml, settings/courier.toml and trust.json of the home, and prints the line that the
    witness's operator adds for our log. It counts once the policy is signed. Any witness of c2sp.org/tlog-witness with
    an Ed25519 key will do: give its --key, --url and --operator.
    """
    from signwright.cli.home import home_of
    from signwright.cli.witness_join import join_witness

    asked = _asked(line, name=name, key=key, url=url, operator=operator)
    ours = join_witness(home_of(home), asked, outside=outside)
    result(str(ours))
    say(f"give this line to {asked.operator}; compare both keys by another way")
    say("next, once they have added it: signwright policy check, diff and apply; then down and up")


def _asked(line: str | None, **given: str | None) -> WitnessLine:
    from signwright.client.witness_lines import WitnessLine, name_from

    told = {option: value for option, value in given.items() if value is not None}
    if line is not None:
        if set(told) - {"name"}:
            raise UsageError("LINE says key, url and operator already", code="usage")
        parsed = WitnessLine.parse(line)
        return WitnessLine(told.get("name", parsed.name), parsed.key, parsed.url, parsed.operator)
    missing = [f"--{option}" for option in ("key", "url", "operator") if option not in told]
    if missing:
        raise UsageError(f"no {', '.join(missing)} given", code="usage", hint="or the witness's public line")
    default = name_from(told["key"].partition("+")[0])
    return WitnessLine(told.get("name", default), told["key"], told["url"].rstrip("/"), told["operator"])


def _settings(folder: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(folder / SETTINGS))
    except tomllib.TOMLDecodeError as problem:
        raise ConfigurationError(f"{folder / SETTINGS}: {problem}", code="bad-settings") from problem


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        why = getattr(problem, "strerror", None) or "not text"
        raise UsageError(f"{file}: {why}", code="no-witness", hint="signwright witness init --folder DIR") from problem


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {text[:80]!r}; wanted HOST:PORT", code="bad-address")
    return host.strip("[]"), int(port)
