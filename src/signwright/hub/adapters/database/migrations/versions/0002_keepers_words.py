# SPDX-License-Identifier: Apache-2.0
"""Freshness, halts and resumes; policies that wait for the signer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "keepers_words",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("resumed_at", sa.Integer(), nullable=True),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("keepers_words_kind", "keepers_words", ["kind", "number"], unique=False)
    op.add_column("policies", sa.Column("waits_since", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("policies", "waits_since")
    op.drop_index("keepers_words_kind", table_name="keepers_words")
    op.drop_table("keepers_words")
