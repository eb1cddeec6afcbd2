# SPDX-License-Identifier: Apache-2.0
"""Orphans: signatures made with our keys that the log knows nothing of. Somebody used the key outside the service."""
