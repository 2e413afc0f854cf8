# SPDX-License-Identifier: GPL-2.0-only
"""Records a run in the history while its verdict is printed.

The libraries that this needs take a third of a second to import, for which there is time while a
guest runs, and a server may take longer to answer. The process does not end before it is done. The
run directory remains the truth: what could not be recorded is a warning, and `hgm history --import`
makes up for it.
"""

from __future__ import annotations

import functools
import os
import threading
from pathlib import Path
from types import ModuleType

from harness.errors import foreseen
from harness.progress import Progress
from harness.records.run import RunRecord
from harness.store.rundir import campaign_of

_LATER = "to record it later: hgm history --import"

_under_way: list[threading.Thread] = []


@functools.cache
def prepare() -> None:
    """Begin to import what `record` needs; only the first call does anything."""
    threading.Thread(target=_libraries, name="history's libraries", daemon=True).start()


def record(run: RunRecord, progress: Progress) -> None:
    """Begin to record a run that has ended; a warning says if that is not possible."""
    thread = threading.Thread(target=_record, args=(run, progress), name="history")
    _under_way.append(thread)
    thread.start()


def wait() -> None:
    """Wait until all runs of this process have been recorded."""
    while _under_way:
        _under_way.pop().join()


def chosen() -> str:
    """Return what ``HGM_STORE`` says; empty for the history among the run directories."""
    return os.environ.get("HGM_STORE", "")


def _libraries() -> ModuleType:
    from harness.store.history import history

    return history


def _record(run: RunRecord, progress: Progress) -> None:
    directory = Path(run.run_dir)
    try:
        with _libraries().opened(chosen(), campaign_of(directory)[0], make=True) as history:
            history.add(run, directory)
    except Exception as error:  # noqa: BLE001 - nothing may take a finished run's result away
        known = foreseen(error)
        why = repr(error) if known is None else known.line()
        progress.note(f"warning: the run is not in the history: {why}; {_LATER} {directory}")
