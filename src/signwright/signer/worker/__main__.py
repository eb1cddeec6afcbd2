# SPDX-License-Identifier: Apache-2.0
"""The gate's worker zygote: ``python -I -S -c BOOT signwright.signer.worker PATH --control N``."""

from __future__ import annotations

import sys

from signwright.signer.worker.jobs import JOBS
from signwright.signer.worker.zygote import main

if __name__ == "__main__":
    sys.exit(main(JOBS, sys.argv[1:]))
