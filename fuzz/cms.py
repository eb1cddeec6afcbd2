# SPDX-License-Identifier: Apache-2.0
"""The reader of CMS: as a detached signature beside content, and as the SignedData of any format."""

from __future__ import annotations

from signwright.errors import SignwrightError
from signwright.model.view import BytesView
from signwright.readers import cms
from signwright.readers.detached import CmsReader

CONTENT = BytesView(b"content\n")


def one_input(data: bytes) -> None:
    reader = CmsReader()
    reader.recognizes(BytesView(data))
    for attempt in (_parse, lambda der: reader.read(BytesView(der), CONTENT)):
        try:
            attempt(data)
        except SignwrightError:
            continue


def _parse(data: bytes) -> None:
    signed = cms.parse(data, padding=True)
    for signer in signed.signers:
        cms.check_embedded(signed, signer)
