# SPDX-License-Identifier: GPL-2.0-only
"""Run by Alembic: migrates within the transaction that it was given."""

from __future__ import annotations

from alembic import context

from harness.store.history.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    render_as_batch=True,
    compare_type=False,
)
context.run_migrations()
