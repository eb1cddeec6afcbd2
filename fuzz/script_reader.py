# SPDX-License-Identifier: Apache-2.0
"""The readers of scripts, which share nothing with the writers."""

from __future__ import annotations

import contextlib

from signwright.errors import SignwrightError
from signwright.model.view import BytesView
from signwright.readers.scripts import JSCRIPT, POWERSHELL, VBSCRIPT, WSF


def one_input(data: bytes) -> None:
    view = BytesView(data)
    for reader in (POWERSHELL, VBSCRIPT, JSCRIPT, WSF):
        reader.recognizes(view)
        with contextlib.suppress(SignwrightError):
            reader.read(view)
