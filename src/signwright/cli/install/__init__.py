# SPDX-License-Identifier: Apache-2.0
"""``signwright install``: one user, one unit and one set of folders for each process of a home."""
