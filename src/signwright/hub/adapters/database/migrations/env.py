# SPDX-License-Identifier: Apache-2.0
"""Alembic's entry: runs on the connection that `signwright.hub.adapters.database.database.migrate` hands over."""

from __future__ import annotations

from alembic import context

from signwright.hub.adapters.database.schema import metadata


def run() -> None:
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


run()
