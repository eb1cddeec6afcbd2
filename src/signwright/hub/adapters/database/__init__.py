# SPDX-License-Identifier: Apache-2.0
"""SQLAlchemy (sync) with one writer that groups commits; Alembic migrations; the hash-chained events."""
