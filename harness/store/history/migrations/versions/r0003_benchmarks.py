# SPDX-License-Identifier: GPL-2.0-only
"""The benchmarks of the harness itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "benchmarks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("started", sa.DateTime, nullable=False, index=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("kernel", sa.Text, nullable=False),
        sa.Column("accel", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
