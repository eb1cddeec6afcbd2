# SPDX-License-Identifier: Apache-2.0
"""``python -m signwright.cli``: the command line of this very interpreter."""

from __future__ import annotations

from signwright.cli.main import main

if __name__ == "__main__":
    main()
