# SPDX-License-Identifier: Apache-2.0
"""Files too large for a test: views that only say they are, and what a process of its own needs for a real one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from signwright.model.view import BytesView

_PROBE = """
import resource, sys
from signwright.model.view import FileView
from {module} import *
with open(sys.argv[1], "rb") as file:
    ({one}).prepare(FileView(file), (), {options})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


class SizedView(BytesView):
    """The bytes of a file of which only the beginning is there."""

    def __init__(self, content: bytes, size: int) -> None:
        super().__init__(content)
        self.size = size


def growth_kib(small: Path, large: Path, module: str, one: str, options: str) -> int:
    """How much more memory a process has at most that prepares the large file. ``one``, ``options``: expressions over
    the names of ``module``, for the format and its options.
    """
    probe = _PROBE.format(module=module, one=one, options=options)
    return _peak_kib(probe, large) - _peak_kib(probe, small)


def _peak_kib(probe: str, path: Path) -> int:
    done = subprocess.run([sys.executable, "-c", probe, path], check=True, capture_output=True, text=True, timeout=120)
    return int(done.stdout)
