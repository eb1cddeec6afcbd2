# SPDX-License-Identifier: Apache-2.0
"""Signed files whose signatures the log knows, and the same made by somebody who has the key and asks nobody."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from signwright.model.digest import sha256_hex
from signwright.model.times import format_time
from signwright.model.view import BytesView
from signwright.readers import cms
from signwright.readers.pe import certificate_table
from signwright.transparency.leaf import ResultLeaf, fold_digests, parse_intent
from tests.support.receipts import SOURCES, Made
from tests.support.served_log import Served

NAMES = {"pe": "setup.exe", "cms": "notes.txt", "raw": "fw.bin"}
SUFFIX = {"pe": "", "cms": ".p7s", "raw": ".sig"}


def signature_value(kind: str, view: bytes) -> bytes:
    """The signature value in a signed file or a detached signature."""
    if kind == "raw":
        return view
    encoding = next(certificate_table(BytesView(view))) if kind == "pe" else view
    return cms.parse(encoding, padding=kind == "pe").signers[0].signature_value


def log_result(served: Served, made: Made, *, more: int = 0, **changes: object) -> None:
    """What an honest gate logs when it has signed. ``more``: how many other signatures the request had."""
    assert made.bundle is not None
    leaf = parse_intent(made.bundle.waves[0].intent.leaf_bytes())
    others = [f"{n:064x}" for n in range(more)]
    listed, (values, results) = fold_digests(
        [sha256_hex(signature_value(made.kind, made.view)), *others], [sha256_hex(made.view), *others]
    )
    fields: dict[str, object] = {
        "intent": made.receipt.intents[0],
        "request": leaf.request,
        "wave": 0,
        "attempt": 1,
        "outcome": "signed",
        "listed": listed,
        "signature_sha256": values,
        "result_sha256": results,
        "timestamps": "none" if made.kind == "raw" else "local",
        "time": format_time(served.time),
    }
    served.world.log.append(ResultLeaf(**(fields | changes)).encode())  # type: ignore[arg-type]
    served.publish()


def released(served: Served, kind: str, *, more: int = 0) -> dict[str, bytes]:
    """Files of an honest release, by name, without its receipt."""
    made = served.world.make(kind)
    log_result(served, made, more=more)
    return files_of(kind, made.view, made.content)


def stolen(served: Served, kind: str, source: bytes = b"evil") -> dict[str, bytes]:
    """Files signed with the organisation's key outside the service, with a true timestamp of two days ago."""
    source = SOURCES[kind] + source if kind == "pe" else source
    moment = served.time - timedelta(days=2)
    view, content, _ = served.world.sign(kind, source, stamped_at=moment)
    return {f"evil-{name}": content for name, content in files_of(kind, view, content).items()}


def files_of(kind: str, view: bytes, content: bytes | None) -> dict[str, bytes]:
    signed = {NAMES[kind] + SUFFIX[kind]: view}
    return signed if content is None else {**signed, NAMES[kind]: content}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def zipped(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()
