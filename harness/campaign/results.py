# SPDX-License-Identifier: GPL-2.0-only
"""The records in directories of runs and campaigns, for reports about all of them together."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from harness.errors import RecordError
from harness.records.base import from_json
from harness.records.campaign import Bisection
from harness.records.run import RunRecord
from harness.store import rundir

_BISECTION = "bisect.json"


class Results(NamedTuple):
    """What was found.

    Attributes:
        runs: in the order of the directories; those of a campaign by their steps.
        directories: of each of them.
        bisections: those of the campaigns that are one.
    """

    runs: tuple[RunRecord, ...]
    directories: tuple[Path, ...]
    bisections: tuple[Bisection, ...]


def load(directories: Iterable[Path]) -> Results:
    """Return the records in directories, each of a run or of a campaign.

    Raises:
        RecordError: if one has neither, or a record is damaged.
    """
    run_dirs: list[Path] = []
    bisections: list[Bisection] = []
    for directory in directories:
        found = sorted(directory.glob(f"*/*/{rundir.RESULT}"))
        inside = [path.parent for path in found if not path.parent.is_symlink()]
        if (directory / rundir.RESULT).exists() or not inside:
            run_dirs.append(directory)
            continue
        run_dirs += inside
        if (directory / _BISECTION).exists():
            bisections.append(load_bisection(directory))
    return Results(tuple(map(rundir.load, run_dirs)), tuple(run_dirs), tuple(bisections))


def load_bisection(directory: Path) -> Bisection:
    """Return what a bisection found.

    Raises:
        RecordError: if it is not there, or damaged.
    """
    path = directory / _BISECTION
    try:
        return from_json(path.read_bytes(), Bisection)
    except (OSError, msgspec.DecodeError) as error:
        raise RecordError(f"{path} cannot be read: {error}") from None
