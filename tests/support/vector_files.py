# SPDX-License-Identifier: Apache-2.0
"""Test vectors as they lie in ``testvectors``: ``good`` and ``broken`` files of one format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write_vectors(
    folder: Path, good: Mapping[str, bytes], broken: Mapping[str, tuple[bytes, str]], once: Mapping[str, bytes]
) -> None:
    """Write every file. ``broken``: content and the code of its error; ``once``: good files that cannot be made twice,
    written only when they are not there.
    """
    for name in ("good", "broken"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, content in good.items():
        (folder / "good" / f"{name}.bin").write_bytes(content)
    for name, (content, _) in broken.items():
        (folder / "broken" / f"{name}.bin").write_bytes(content)
    for name, content in once.items():
        path = folder / "good" / f"{name}.bin"
        if not path.exists():
            path.write_bytes(content)
