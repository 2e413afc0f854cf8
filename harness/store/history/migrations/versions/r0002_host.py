# SPDX-License-Identifier: GPL-2.0-only
"""Which host a run's directory is on, so that no host prunes another's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; of older runs the host is not known."""
    op.add_column("runs", sa.Column("host", sa.Text, nullable=False, server_default=""))
