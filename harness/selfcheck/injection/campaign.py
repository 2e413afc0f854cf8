# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of a run when this side of it breaks? Real runs, each disturbed once from outside.

::

    CAMPAIGN/NNN-FAULT/disk/runs/STAMP-.../   the run directory
    CAMPAIGN/NNN-FAULT/output                 what the harness said
    CAMPAIGN/NNN-FAULT/injection.json         what was done, what was seen, what was wrong

Which fault comes when is drawn from the seed and the number of the injection, so a campaign that is
given again goes on where it was, unless the harness has changed. The run after each fault is the
next injection's, which must come as far as its own fault; after the last one a run that nobody
disturbs must pass.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import harness
from harness.campaign import state
from harness.context import Context
from harness.errors import CampaignStopped
from harness.records.base import Record, to_json
from harness.selfcheck.injection.catalogue import Kind
from harness.selfcheck.injection.runner import Injection, Prepared
from harness.workspace import atomic_write, digest


class Injections(Record, frozen=True, kw_only=True):
    """The whole answer.

    Attributes:
        seed: what the moments were drawn from.
        host: the host's kernel.
        release: ``uname -r`` of the guest's kernel.
        rows: an injection each, in their order.
        after: the run after the last fault, which nobody disturbed.
        directory: absolute path of the campaign's directory.
    """

    seed: int
    host: str
    release: str
    rows: tuple[Injection, ...]
    after: Injection
    directory: str

    @property
    def exit_code(self) -> int:
        """Return 0 if every fault was injected and every run ended right, else 1."""
        return 0 if all(row.outcome == "right" for row in (*self.rows, self.after)) else 1


def inject(
    kinds: Sequence[Kind],
    count: int,
    seed: int,
    words: Sequence[str],
    runs: Path,
    context: Context,
) -> Injections:
    """Disturb so many runs, one after the other, and say what was wrong with their ends.

    Args:
        kinds: which faults, dealt out in turn.
        count: how many injections.
        seed: what moments are drawn from.
        words: more options of `hgm run`: which kernel, which machine.
        runs: where the campaign's directory is made.
        context: cache, deadline, progress.

    Raises:
        CampaignStopped: if a run that nobody disturbs does not pass here.
    """
    identity = (seed, tuple(kind.name for kind in kinds), tuple(words), _code())
    with state.campaign("inject", "faults", identity, runs, context) as memory:
        prepared = Prepared(memory.directory, seed, tuple(words), context)
        context.progress.stage("inject", "a run that nobody disturbs")
        first = prepared.undisturbed(0)
        if first.outcome != "right":
            raise CampaignStopped(
                f"a run that nobody disturbs does not pass here: {'; '.join(first.wrong)}",
                hint=f"see {first.directory}",
            )
        rows = []
        for number in range(1, count + 1):
            kind = kinds[(number - 1) % len(kinds)]
            context.progress.stage("inject", f"{number} of {count}: {kind.name}")
            rows.append(prepared.injection(kind, number))
            context.progress.note(f"{rows[-1].outcome}: {'; '.join(rows[-1].wrong)}")
        context.progress.stage("inject", "a run that nobody disturbs")
        found = Injections(
            seed=seed,
            host=f"{platform.system()} {platform.release()}",
            release=_release(first),
            rows=tuple(rows),
            after=prepared.undisturbed(count + 1),
            directory=str(memory.directory),
        )
        atomic_write(memory.directory / "inject.json", to_json(found))
    return found


def _code() -> str:
    """Return what changes with the harness: an old end says nothing about a new harness."""
    files = sorted(Path(harness.__file__).parent.rglob("*.py"))
    return digest(*(path.read_bytes() for path in files))


def _release(first: Injection) -> str:
    record = first.seen.record if first.seen is not None else None
    return record.kernel.release if record is not None and record.kernel is not None else ""
