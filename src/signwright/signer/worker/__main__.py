# SPDX-License-Identifier: Apache-2.0
"""The gate's worker zygote: ``python -I -S -c BOOT signwright.signer.worker PATH --control N``."""

from __future__ import annotations

import sys

# The library loads this with its first signature check, and a child could not.
import cryptography.hazmat.backends.openssl.backend  # noqa: F401

from signwright.formats.pe_checksum import vectorised
from signwright.signer.worker.jobs import JOBS
from signwright.signer.worker.zygote import main

if __name__ == "__main__":
    vectorised()  # loads its library for large files, which a child could not either
    sys.exit(main(JOBS, sys.argv[1:]))
