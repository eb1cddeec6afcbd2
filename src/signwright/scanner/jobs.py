# SPDX-License-Identifier: Apache-2.0
"""What the scanner's sandboxed children do: match rules, and unpack the members of archives.

Run as a module this is the scanner's zygote: the rules are compiled once, before the first fork.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import yara_x

from signwright.containers.base import Archive, ArchiveLimits, Place
from signwright.containers.registry import MAX_COVERED, MAX_RUNS, SHORTEST_RUN, container_of
from signwright.errors import ConfigurationError, FormatError, LimitError, SignwrightError, UsageError
from signwright.model.framing import Frame
from signwright.scanner.engines.yara import rule_files, rules_digest
from signwright.signer.worker.task import Job, Task
from signwright.signer.worker.zygote import main

#: Up to here content is handed over in memory; larger files are mapped by the library.
_IN_MEMORY = 4 << 20


def match_job(rules: yara_x.Rules) -> Job:
    """A conversation: each ``{"view": n}`` is answered by the names of the ``rules`` that match, until the asker
    leaves.
    """

    def match(task: Task) -> Frame:
        scanner = yara_x.Scanner(rules)
        while True:
            try:
                index = task.receive().message.get("view")
            except EOFError:
                return Frame({})
            if type(index) is not int or not 0 <= index < len(task.views):
                raise UsageError("no such view", code="worker-usage")
            task.send({"rules": _matching(scanner, task, index)})

    return match


def _matching(scanner: yara_x.Scanner, task: Task, index: int) -> list[str]:
    from signwright.signer.worker.task import DescriptorView

    view = DescriptorView(task.views[index].descriptor)  # anew: its size may have changed
    try:
        if view.size <= _IN_MEMORY:
            found = scanner.scan(view.read(0, view.size))
        else:
            found = scanner.scan_file(f"/proc/self/fd/{view.descriptor}")
    except (yara_x.ScanError, yara_x.TimeoutError, OSError) as problem:
        raise FormatError("yara-x could not scan the file", code="engine-failed") from problem
    return sorted({rule.identifier for rule in found.matching_rules})


def unpack(task: Task) -> Frame:
    """Stream the members of the archive of ``kind`` at ``mark`` and ``end`` of view 0: ``covered`` says which ranges of
    the view it explains, ``runs`` where in them its members stand, ``member`` opens a member, parts carry its blocks,
    ``end`` or ``failed`` closes it.
    """
    message = task.message
    limits = ArchiveLimits(**{name: _whole(message.get(name)) for name in ("members", "total", "ratio", "depth")})
    place = Place(str(message.get("kind")), _whole(message.get("mark")), _whole(message.get("end")))
    archive = container_of(place.kind).open(task.views[0], place, limits)
    task.send({"covered": [list(part) for part in archive.covered[:MAX_COVERED]]})
    for rows in _runs(archive):
        task.send({"runs": rows})
    for member in archive.members:
        if member.is_folder:
            continue
        task.send({"member": member.name})
        try:
            for block in archive.read(member):
                if block:
                    task.send({}, (block,))
        except (FormatError, LimitError) as problem:
            task.send({"failed": problem.code})
        else:
            task.send({"end": True})
    return Frame({"members": len(archive.members)})


def _runs(archive: Archive) -> Iterator[list[list[int | bool]]]:
    long_enough = (run for run in archive.runs() if run.end - run.start >= SHORTEST_RUN)
    rows: list[list[int | bool]] = []
    for run in islice(long_enough, MAX_RUNS):
        rows.append([run.start, run.end, run.behind, run.packed])
        if len(rows) == MAX_COVERED:
            yield rows
            rows = []
    if rows:
        yield rows


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise UsageError("a limit is not a number", code="worker-usage")
    return value


def compiled(extra: list[Path], wanted: str) -> yara_x.Rules:
    """All rule files as one set; includes are off, so that a rule file reads no other.

    Raises `ConfigurationError` unless the files are those with the digest ``wanted``, which stands in every verdict.
    """
    files = rule_files(extra)
    sources = [path.read_bytes() for path in files]
    if rules_digest(sources) != wanted:
        raise ConfigurationError("the rule files changed since the scanner was started", code="rules-changed")
    compiler = yara_x.Compiler(includes_enabled=False)
    for path, source in zip(files, sources, strict=True):
        compiler.add_source(source.decode("utf-8"), origin=path.name)
    return compiler.build()


def run() -> int:
    """The zygote. ``--rules`` names further rule folders; the rest is the zygote's own."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--rules", type=Path, action="append", default=[])
    parser.add_argument("--rules-digest", required=True)
    own, rest = parser.parse_known_args()
    try:
        rules = compiled(own.rules, own.rules_digest)
    except (SignwrightError, yara_x.CompileError, OSError, UnicodeDecodeError) as problem:
        print(f"scanner zygote: rules: {problem}", file=sys.stderr)
        return 1
    return main({"match": match_job(rules), "unpack": unpack}, rest)


if __name__ == "__main__":
    sys.exit(run())
