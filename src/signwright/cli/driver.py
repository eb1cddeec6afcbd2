# SPDX-License-Identifier: Apache-2.0
"""``signwright driver``: a driver package signed from the inside out, in the one order that holds."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from signwright.cli import hubs, settings
from signwright.cli.console import json_result, result
from signwright.cli.sign import Run, Wishes, tell_of
from signwright.cli.views import signed_json
from signwright.cli.waiting import DEFAULT_SECONDS
from signwright.client.driver import (
    Package,
    copy_rest,
    read_members,
    read_package,
    write_catalog,
    write_submission,
)
from signwright.client.hub import RequestView
from signwright.client.results import SavedResult
from signwright.errors import PendingError, UsageError
from signwright.model.times import parse_time

Signed = tuple[RequestView, list[SavedResult]]
#: No cabinet has an earlier date; builds that want to be repeated set the times of their files back.
_YEAR_1980 = int(datetime(1980, 1, 1, tzinfo=UTC).timestamp())


@click.command("driver")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--out", "out", metavar="OUT", required=True, type=click.Path(path_type=Path), help="a new folder")
@click.option("--project", metavar="P", help="project, when --policy does not name it (SIGNWRIGHT_PROJECT)")
@click.option("--policy", metavar="PROJECT/POLICY", help="signing policy (SIGNWRIGHT_POLICY; default: default/test)")
@click.option("--os", "systems", metavar="ID", multiple=True, help="Windows version, such as 10_X64; else from the INF")
@click.option("--hardware-id", "hardware_ids", metavar="ID", multiple=True, help="for the catalog; else from the INF")
@click.option(
    "--existing",
    type=click.Choice(["refuse", "replace", "append"]),
    default="refuse",
    help="what happens to drivers that are signed already (default: refuse)",
)
@click.option("--description", metavar="TEXT", help="what Windows shows as the program's name")
@click.option("--url", metavar="URL", help="what Windows shows as more information")
@click.option(
    "--timeout", type=click.IntRange(min=1), metavar="S", help=f"seconds to wait for each (default: {DEFAULT_SECONDS})"
)
@hubs.hub_options
@hubs.output_option
def driver_command(folder: Path, out: Path, **flags: Any) -> None:
    """Sign the driver package in FOLDER: its drivers, then a catalog of all its files, then the cabinet to submit.

    Three requests, one after the other, because each signs what the one before made: every .sys file, the .cat file,
    the .cab file. OUT gets the package and NAME.cab, each signed file with its receipt, and only when all of it is
    there. Where people must approve, each request waits for them as `sign` does; when the time is over, the same
    command goes on where it stopped.
    """
    package = read_package(folder, systems=flags["systems"], hardware_ids=flags["hardware_ids"])
    as_json = settings.output_format(flags["output"]) == "json"
    with _staged(out) as staged:
        steps = _Steps(package, staged, flags)
        try:
            signed = steps.run()
        except PendingError as problem:
            problem.hint = "the request goes on; the same command continues with its result"
            raise
    finished = [_moved(one, staged, out) for one in signed]
    cabinet = out / steps.cabinet.name
    if as_json:
        package_folder, catalog = out / package.name, out / package.name / package.catalog
        told = {"package": str(package_folder), "catalog": str(catalog), "cabinet": str(cabinet)}
        json_result({**told, "requests": [signed_json(*one) for one in finished]})
        return
    result(str(cabinet))


@dataclass(slots=True)
class _Steps:
    """The three requests. ``staged``: where everything is made, beside OUT."""

    package: Package
    staged: Path
    flags: Mapping[str, Any]

    @property
    def cabinet(self) -> Path:
        return self.staged / f"{self.package.name}.cab"

    def run(self) -> list[Signed]:
        package, inside = self.package, self.staged / self.package.name
        inside.mkdir()
        copy_rest(package, inside)
        others = read_members(package, inside, drivers=False)  # before a key is used: one of them may be refused
        signed: list[Signed] = []
        if package.drivers:
            places = {package.folder / file: inside / file for file in package.drivers}
            signed.append(self._sign("pe", places, existing=self.flags["existing"]))
        moment = self._moment(signed)
        members = [*others, *read_members(package, inside, drivers=True)]
        catalog = partial(write_catalog, package, members, moment)
        signed.append(self._made("catalog", inside / package.catalog, catalog))
        signed.append(self._made("cab", self.cabinet, partial(write_submission, package, inside, moment)))
        return signed

    def _moment(self, signed: list[Signed]) -> datetime:
        """When the drivers were signed, else when the INF was written: the same when the command is run again, so that
        catalog and cabinet are the same bytes and their requests the same requests.
        """
        created = [parse_time(one.receipt.predicate.created) for _, saved in signed for one in saved]
        written = int((self.package.folder / self.package.inf).stat().st_mtime)
        return max(created, default=datetime.fromtimestamp(max(written, _YEAR_1980), UTC))

    def _made(self, kind: str, output: Path, write: Callable[[Path], None]) -> Signed:
        with tempfile.TemporaryDirectory(dir=self.staged) as folder:
            unsigned = Path(folder) / output.name
            write(unsigned)
            return self._sign(kind, {unsigned: output})

    def _sign(self, kind: str, places: Mapping[Path, Path], **options: str) -> Signed:
        wishes = Wishes(
            output=None,
            in_place=False,
            wait=True,
            again=False,
            idempotency_key=None,
            seconds=settings.seconds(self.flags["timeout"], DEFAULT_SECONDS),
            several=len(places) > 1,
            places=places,
            source=self.package.folder,
        )
        named = tuple(f"{name}={value}" for name, value in options.items())
        flags = {**self.flags, "mode": None, "format_name": kind, "options": named}
        done = Run(flags, wishes, json_wanted=False).signed(list(places))
        tell_of(*done)
        return done


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder beside OUT that takes its place when all went well, and is gone otherwise."""
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise UsageError(f"{out}: exists already", code="output-exists", hint="-o names a new folder")
    parent = out.absolute().parent
    if not parent.is_dir():
        raise UsageError(f"{parent}: no such folder", code="no-output-folder", hint="create it first")
    folder = parent / f".{out.name}.{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError as problem:
        raise UsageError(f"{parent}: {problem.strerror}", code="cannot-write") from problem
    try:
        yield folder
        os.replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _moved(signed: Signed, staged: Path, out: Path) -> Signed:
    """The same with the places where the files are now."""
    view, saved = signed
    targets = [replace(one.target, output=out / one.target.output.relative_to(staged)) for one in saved]
    return view, [replace(one, target=target) for one, target in zip(saved, targets, strict=True)]
