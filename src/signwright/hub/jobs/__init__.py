# SPDX-License-Identifier: Apache-2.0
"""Embedded jobs: a table of leases with fences, on the hub's own database. The request's state is the truth."""
