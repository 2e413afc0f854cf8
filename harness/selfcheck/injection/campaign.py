# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck inject`: real runs, each with one fault injected from outside.

::

    CAMPAIGN/NNN-FAULT/disk/runs/STAMP-.../   the run directory
    CAMPAIGN/NNN-FAULT/output                 the harness's output
    CAMPAIGN/NNN-FAULT/injection.json         what was done, observed, and wrong

When a fault is injected is drawn from the seed and the number of the injection, so the same command
continues an interrupted campaign, unless the harness has changed. Each run must come as far as its
own fault, and after the last one a run without a fault must pass.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Sequence
from pathlib import Path

import harness
from harness.campaign import state
from harness.context import Context
from harness.errors import CampaignStopped
from harness.records.base import Record, to_json
from harness.selfcheck.injection.catalogue import HostFault
from harness.selfcheck.injection.runner import Injection, InjectionRunner
from harness.workspace import atomic_write, digest


class Injections(Record, frozen=True, kw_only=True):
    """The result of a campaign: ``inject.json``.

    Attributes:
        seed: of the moments of faults.
        host: the host's kernel.
        release: ``uname -r`` of the guest's kernel.
        rows: the injections, in order.
        after: the run after the last fault, which had none.
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
        return 0 if all(row.result == "right" for row in (*self.rows, self.after)) else 1


def inject(
    faults: Sequence[HostFault],
    count: int,
    seed: int,
    words: Sequence[str],
    runs: Path,
    context: Context,
) -> Injections:
    """Do runs one after the other, inject a fault into each, and judge their ends.

    Args:
        faults: in turn.
        count: how many injections.
        seed: of the moments of faults.
        words: more options of `hgm run`: which kernel, which machine.
        runs: where the campaign's directory is made.
        context: cache, deadline, progress.

    Raises:
        CampaignStopped: if a run without a fault does not pass.
    """
    identity = (seed, tuple(fault.name for fault in faults), tuple(words), _code())
    with contextlib.ExitStack() as stack:
        campaign = stack.enter_context(state.campaign("inject", "faults", identity, runs, context))
        own = stack.enter_context(context.workspace.unfinished("inject"))
        runner = InjectionRunner(campaign.directory, seed, tuple(words), own, context)
        context.progress.stage("inject", "a run without a fault")
        first = runner.without_fault(0)
        if first.result != "right":
            raise CampaignStopped(
                f"a run without a fault does not pass here: {'; '.join(first.violations)}",
                hint=f"see {first.directory}",
            )
        rows = []
        for number in range(1, count + 1):
            fault = faults[(number - 1) % len(faults)]
            context.progress.stage("inject", f"{number} of {count}: {fault.name}")
            rows.append(runner.injection(fault, number))
            context.progress.note(f"{rows[-1].result}: {'; '.join(rows[-1].violations)}")
        context.progress.stage("inject", "a run without a fault")
        found = Injections(
            seed=seed,
            host=f"{platform.system()} {platform.release()}",
            release=_release(first),
            rows=tuple(rows),
            after=runner.without_fault(count + 1),
            directory=str(campaign.directory),
        )
        atomic_write(campaign.directory / "inject.json", to_json(found))
    return found


def _code() -> str:
    """Return a digest of the harness: an old result says nothing about a new harness."""
    files = sorted(Path(harness.__file__).parent.rglob("*.py"))
    return digest(*(path.read_bytes() for path in files))


def _release(first: Injection) -> str:
    record = first.seen.record if first.seen is not None else None
    return record.kernel.release if record is not None and record.kernel is not None else ""
