# SPDX-License-Identifier: Apache-2.0
"""How much is measured: the promised sizes, or small ones that only show that it works."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Scale:
    """``rounds``: runs of each thing; ``file_mib``: of the large file; ``half_mib``: of the one that others sign too;
    ``msi_mib``: of the installer; ``small_mib``: of the one that the hub's memory is compared with; ``seconds``: of one
    run of a load; ``requests``: whole requests one after the other; ``members``: of an archive.
    """

    rounds: int = 5
    file_mib: int = 1024
    half_mib: int = 512
    msi_mib: int = 200
    small_mib: int = 10
    seconds: float = 6.0
    clients: int = 16
    requests: int = 25
    members: int = 2000


FULL = Scale()
QUICK = Scale(rounds=3, file_mib=64, half_mib=32, msi_mib=16, small_mib=2, seconds=2.0, requests=5, members=50)


@dataclass(frozen=True, slots=True)
class Bench:
    """``folder``: empty, on the disk to be measured, removed afterwards; ``signer_env``: the signer's environment."""

    scale: Scale
    folder: Path
    signer_env: Path | None = None
