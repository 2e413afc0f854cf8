# SPDX-License-Identifier: GPL-2.0-only
"""The reports in the run directory, beside ``result.json``."""

from __future__ import annotations

from types import ModuleType

from harness.report import reproduce
from harness.store.rundir import RunStore

JUNIT = "junit.xml"
REPRODUCE = "reproduce.sh"


def write_reproduce(store: RunStore) -> None:
    """Write ``reproduce.sh``, executable; at the start of a run, and again at its end."""
    store.write(REPRODUCE, reproduce.render(store.record), executable=True)


def write_junit(store: RunStore) -> None:
    """Write ``junit.xml`` as the record is now."""
    store.write(JUNIT, prepare().render(store.record))


def prepare() -> ModuleType:
    """Import what `write_junit` needs, which takes a while."""
    from harness.report import junit

    return junit
