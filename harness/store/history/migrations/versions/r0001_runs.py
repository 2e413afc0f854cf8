# SPDX-License-Identifier: GPL-2.0-only
"""Cells, runs and results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "cells",
        sa.Column("id", sa.Text, primary_key=True),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("kernel", "series", "config", "machine", "accel", "probes")
        ),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("cell_id", sa.Text, sa.ForeignKey("cells.id")),
        sa.Column("started", sa.DateTime, nullable=False, index=True),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("build_seconds", sa.Float, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("exit_code", sa.Integer, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("reason", "release", "origin", "kernel_key", "campaign", "run_dir")
        ),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.Index("runs_by_cell", "cell_id", "started"),
    )
    op.create_table(
        "results",
        sa.Column(
            "run_id", sa.Text, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("name", sa.Text, primary_key=True, index=True),
        sa.Column("cell_id", sa.Text, sa.ForeignKey("cells.id")),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("good", sa.Integer, nullable=False),
        sa.Column("bad", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("known_issues", sa.JSON, nullable=False),
        sa.Index("results_by_cell", "cell_id", "name"),
    )
