# SPDX-License-Identifier: Apache-2.0
"""A worker zygote whose parser was taken over by the artifact: a file that ends in ``lie:<name>;`` makes it answer
something else than it found. All around the answer is the product's.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import cryptography.hazmat.backends.openssl.backend  # noqa: F401 - a child could not load it

from signwright.containers.cfb import CompoundFile
from signwright.formats.registry import FORMATS
from signwright.model.framing import Frame
from signwright.model.patch import Patch, Patched, Splice, sealed
from signwright.model.view import BytesView
from signwright.signer.worker.jobs import JOBS
from signwright.signer.worker.task import Job, Task
from signwright.signer.worker.zygote import main

#: Frame of an honest answer → its plain content, to change in place; parts are a list.
Lie = Callable[[Task, dict[str, Any], list[bytes]], None]


def flipped(digest: str) -> str:
    return digest[:-1] + ("0" if digest[-1] != "0" else "1")


def prepared(**changes: Callable[[Any], Any]) -> Lie:
    def lie(_: Task, __: dict[str, Any], parts: list[bytes]) -> None:
        content = json.loads(parts[0])
        content |= {name: change(content[name]) for name, change in changes.items()}
        parts[0] = json.dumps(content).encode()

    return lie


def embedded_nothing(task: Task, _: dict[str, Any], parts: list[bytes]) -> None:
    made, size = Patch.decode(parts[0]), task.views[0].size
    parts[0] = Patch(made.source_sha256, size, made.source_sha256, size, ()).encode()


def whole(task: Task, content: bytes) -> bytes:
    """The sealed patch that makes the artifact ``content``."""
    view = task.views[0]
    source = hashlib.sha256(view.read(0, view.size)).hexdigest()
    return sealed(view, Patch(source, view.size, "", len(content), (Splice(0, view.size, content),))).encode()


def long_value(task: Task, _: dict[str, Any], parts: list[bytes]) -> None:
    parts[0] = whole(task, bytes(1 << 20))


def other_value(task: Task, _: dict[str, Any], parts: list[bytes]) -> None:
    parts[0] = whole(task, bytes(64))


def repacked(change: Callable[[dict[str, bytes]], None], level: int | None = None) -> Lie:
    """The archive as it was to be, with its members changed behind everybody's back. ``level``: of the packing."""

    def lie(task: Task, _: dict[str, Any], parts: list[bytes]) -> None:
        honest = Patched(task.views[0], Patch.decode(parts[0]))
        content, out = io.BytesIO(honest.read(0, honest.size)), io.BytesIO()
        with zipfile.ZipFile(content) as old, zipfile.ZipFile(out, "w") as new:
            members = {info.filename: old.read(info) for info in old.infolist()}
            infos = {info.filename: info for info in old.infolist()}
            change(members)
            for name, data in members.items():
                new.writestr(infos.get(name, name), data, compresslevel=level)
            new.comment = old.comment
        parts[0] = whole(task, out.getvalue())

    return lie


def hidden(where: Callable[[CompoundFile], int]) -> Lie:
    """The installer as it was to be, with bytes where no stream holds them."""

    def lie(task: Task, _: dict[str, Any], parts: list[bytes]) -> None:
        honest = Patched(task.views[0], Patch.decode(parts[0]))
        content = bytearray(honest.read(0, honest.size))
        at = where(CompoundFile(BytesView(bytes(content))))
        assert content[at] == 0
        content[at] = 0x50
        parts[0] = whole(task, bytes(content))

    return lie


def behind_signature(file: CompoundFile) -> int:
    return next(sum(list(file.pieces(one))[-1]) for one in file.entries if one.kind and "Digital" in one.text)


def touched(program: bytes) -> bytes:
    """The same program as far as its signature goes: with another checksum in its header."""
    content = bytearray(program)
    content[int.from_bytes(content[0x3C:0x40], "little") + 88] ^= 1
    return bytes(content)


def unsigned(program: bytes) -> bytes:
    view = BytesView(program)
    result = Patched(view, FORMATS["pe"].remove(view))
    return result.read(0, result.size)


def in_later_waves(lie: Lie) -> Lie:
    """Honest as long as nothing of the artifact is signed."""

    def later(task: Task, message: dict[str, Any], parts: list[bytes]) -> None:
        if task.message.get("patch") is not None:
            lie(task, message, parts)

    return later


def other_content(_: Task, __: dict[str, Any], parts: list[bytes]) -> None:
    """A signature file about another class than the archive has, with the digest to it."""
    content = json.loads(parts[0])
    parts[1] = parts[1].replace(b"Digest: ", b"Digest: A", 1)
    content["operations"][0]["digest"] = f"sha256:{hashlib.sha256(parts[1]).hexdigest()}"
    parts[0] = json.dumps(content).encode()


def any_digest(_: Task, __: dict[str, Any], parts: list[bytes]) -> None:
    """Each time another one."""
    content = json.loads(parts[0])
    content["operations"][0]["digest"] = f"sha256:{os.urandom(32).hex()}"
    parts[0] = json.dumps(content).encode()


def read(**changes: Callable[[Any], Any]) -> Lie:
    def lie(_: Task, message: dict[str, Any], __: list[bytes]) -> None:
        message |= {name: change(message[name]) for name, change in changes.items()}

    return lie


def result(**changes: Callable[[Any], Any]) -> Lie:
    def lie(_: Task, message: dict[str, Any], __: list[bytes]) -> None:
        message["result"] |= {name: change(message["result"][name]) for name, change in changes.items()}

    return lie


def source(**changes: Callable[[Any], Any]) -> Lie:
    def lie(_: Task, message: dict[str, Any], __: list[bytes]) -> None:
        message["source"] |= {name: change(message["source"][name]) for name, change in changes.items()}

    return lie


def source_without(_: Task, message: dict[str, Any], __: list[bytes]) -> None:
    del message["source"]


def signature(**changes: Callable[[Any], Any]) -> Lie:
    """The new signature, which is the last that is found."""

    def lie(_: Task, message: dict[str, Any], __: list[bytes]) -> None:
        row = message["result"]["signatures"][-1]
        row |= {name: change(row[name]) for name, change in changes.items()}

    return lie


def one_more(task: Task, message: dict[str, Any], parts: list[bytes]) -> None:
    del task
    parts.append(b"a value that nobody ordered")
    rows = message["result"]["signatures"]
    rows.append({**rows[-1], "signature_value": len(parts) - 1})


LIES: dict[str, dict[str, Lie]] = {
    "prepare": {
        "other-bytes": prepared(source_sha256=flipped),
        "other-size": prepared(source_size=lambda size: size + 1),
        "not-final": prepared(later=lambda _: [{"template": "authenticode-pe", "wave": 1, "algorithm": "sha256"}]),
        "nothing-later": prepared(later=lambda _: []),
        "more-later": prepared(later=lambda rows: [*rows, {**rows[-1], "wave": rows[-1]["wave"] + 1}]),
        "other-later": prepared(later=lambda rows: [{**rows[0], "inner_path": "a/B.class"}, *rows[1:]]),
        "any-digest": in_later_waves(any_digest),
        "later-digest": in_later_waves(prepared(operations=lambda o: [{**o[0], "digest": flipped(o[0]["digest"])}])),
        "later-content": in_later_waves(other_content),
        "other-path": in_later_waves(prepared(operations=lambda rows: [{**rows[0], "inner_path": "native/lib.dll"}])),
        "two-operations": in_later_waves(prepared(operations=lambda rows: [*rows, *rows])),
        "other-operation": prepared(operations=lambda rows: [{**rows[0], "digest": flipped(rows[0]["digest"])}]),
        "other-member": prepared(operations=lambda rows: [{**rows[0], "inner_path": "readme.txt"}]),
        "other-outer": prepared(operations=lambda rows: [{**rows[0], "inner_path": ""}]),
    },
    "embed": {
        "embedded-nothing": embedded_nothing,
        "long-value": long_value,
        "other-value": other_value,
        "hidden-in-free-sector": hidden(lambda file: file.offset(file.owned.find(0))),
        "hidden-behind-signature": hidden(behind_signature),
        "hidden-in-header": hidden(lambda _: 8),
        "kept-changed": repacked(lambda members: members.update({"readme.txt": b"run me"})),
        "member-added": repacked(lambda members: members.update({"stray.exe": b"MZ"})),
        "member-gone": repacked(lambda members: members.__delitem__("readme.txt")),
        "vendor-unsigned": repacked(lambda members: members.update({"vendor.dll": unsigned(members["vendor.dll"])})),
        "vendor-touched": repacked(lambda members: members.update({"vendor.dll": touched(members["vendor.dll"])})),
        "vendor-packed-anew": repacked(lambda _: None, level=1),
        "class-changed": repacked(lambda members: members.update({"a/B.class": b"run me"})),
        "class-changed-later": in_later_waves(repacked(lambda members: members.update({"a/B.class": b"run me"}))),
        "library-unsigned-later": in_later_waves(
            repacked(lambda members: members.update({"native/lib.dll": unsigned(members["native/lib.dll"])}))
        ),
        "vendor-by-us": repacked(lambda members: members.update({"vendor.dll": members["a.exe"]})),
    },
    "read-source": {
        "other-source": source(stripped_sha256=flipped),
        "another-form": source(warnings=lambda _: "none"),
        "control-character": source(warnings=lambda _: ["\x1b[2J"]),
        "no-source": source_without,
    },
    "read": {
        "other-result": read(sha256=flipped),
        "other-length": read(size=lambda size: size + 1),
        "other-content": result(stripped_sha256=flipped),
        "no-signature": result(signatures=lambda _: []),
        "one-more": one_more,
        "twice": result(signatures=lambda rows: [*rows, rows[-1]]),
        "other-digest": signature(content_digest=flipped),
        "other-key": signature(public_key=lambda _: 0),
        "other-certificate": signature(signer_certificate=lambda _: None),
        "other-place": signature(inner_path=lambda _: "readme.txt"),
        "no-timestamp": signature(timestamp_token=lambda _: None),
    },
}


def lying(name: str, job: Job) -> Job:
    def run(task: Task) -> Frame:
        honest = job(task)
        view = task.views[0]
        start = max(0, view.size - 64)
        _, found, told = view.read(start, view.size - start).rpartition(b"lie:")
        lie = LIES.get(name, {}).get(told.partition(b";")[0].decode()) if found else None
        if lie is None:
            return honest
        message, parts = json.loads(json.dumps(honest.message)), list(honest.parts)
        lie(task, message, parts)
        return Frame(message, tuple(parts))

    return run


if __name__ == "__main__":
    sys.exit(main({name: lying(name, job) for name, job in JOBS.items()}, sys.argv[1:]))
