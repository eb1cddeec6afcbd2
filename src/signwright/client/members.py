# SPDX-License-Identifier: Apache-2.0
"""Read a signed file with the signatures of its members, where its receipt says that some of these were signed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from signwright.client.authorisation import ArtifactOperation, open_operations
from signwright.errors import SignwrightError
from signwright.model.base64text import strict_base64
from signwright.model.view import View
from signwright.readers.base import Keeper, Reading
from signwright.readers.registry import READERS
from signwright.statements.bundle import ReceiptBundle, open_envelope
from signwright.statements.models import parse_statement
from signwright.statements.receipt import Receipt

_ARCHIVES = "zip"


def reader_of(name: str, bundle: ReceiptBundle | None) -> Callable[[View, View | None], Reading]:
    """``name``: of an independent reader, which reads a file's own signature, and those of the members of a plain
    archive. Where members of what is signed itself were signed before it, each wave is read as the signer read it.
    """
    read, waves = READERS[name].read, _paths(bundle)
    archives = READERS[_ARCHIVES]
    assert isinstance(archives, Keeper)
    if len(waves) < 2 and (name == _ARCHIVES or not any(path for paths in waves for path in paths)):
        return read

    def read_all(view: View, content: View | None) -> Reading:
        reading = read(view, content)
        found = {(one.inner_path, one.signature_value): one for one in reading.signatures}
        for paths in waves:
            if any(paths):
                inner = archives.read_members(view, paths).signatures
                found |= {(one.inner_path, one.signature_value): one for one in inner if one.inner_path in paths}
        return replace(reading, signatures=tuple(found.values()))

    return read_all


def waves_of(bundle: ReceiptBundle) -> list[list[ArtifactOperation]]:
    """What the receipt's artifact had signed in each wave, as the bundle tells; raises `SignwrightError`."""
    artifact = parse_statement(open_envelope(bundle.receipt), Receipt).predicate.artifact
    lists = (open_operations(strict_base64(wave.operations)) for wave in bundle.waves)
    return [[row for row in rows if row.artifact == artifact] for rows in lists]


def _paths(bundle: ReceiptBundle | None) -> list[list[str]]:
    """Only a hint at what to look for."""
    try:
        return [[row.inner_path for row in rows] for rows in waves_of(bundle)] if bundle is not None else []
    except SignwrightError:
        return []
