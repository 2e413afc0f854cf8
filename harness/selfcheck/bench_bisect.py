# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck bench bisect`: what a bisection adds to the makes and boots it needs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.arch import arch
from harness.context import Context
from harness.errors import SpecError
from harness.kernel.obtain import KernelRequest, obtain, resolve_request
from harness.probes import catalog
from harness.records.base import from_json
from harness.records.bench import Ratio
from harness.records.campaign import Bisection, Evaluation
from harness.records.run import Ingredients
from harness.reproducer import probe_words, subject_words
from harness.run.subject import Subject
from harness.selfcheck.baseline import BareTree, bare_boot, cost, hgm, own_cache
from harness.store import rundir
from harness.workspace import Workspace


def bisect(subject: Subject, probes: Sequence[str], context: Context) -> tuple[Ratio, ...]:
    """Compare a bisection with bare makes and boots of the same kernels, in the same order.

    The kernels of both ends are built before and do not count, so that the others are incremental
    builds. A kernel is made where the bisection made one, and booted for each of its runs. The time
    to switch and configure the bare tree is not counted.

    Args:
        subject: the series, its source and the machine.
        probes: one of these fails because of the culprit.
        context: cache, deadline, progress.

    Returns:
        The ratio of the whole command's wall time to that of makes and boots; that of its makes to
        bare makes, if there were any; and that of its guests, which run probes, to bare boots.

    Raises:
        UserError: if the probe is unknown, there is no series or no culprit, or a kernel does not
            build.
        InfrastructureError: if a make or a boot fails.
    """
    catalog.select(catalog.load(), probes)
    if not resolve_request(subject.kernel, context).patches[: subject.kernel.first]:
        raise SpecError("there is no series to bisect", hint="give --series")
    base = msgspec.structs.replace(subject.kernel, first=0)
    with own_cache(context.workspace) as own:
        tree = _ends_built((base, subject.kernel), own, context)
        context.progress.stage("bench", "hgm bisect")
        runs = own.cache / "runs"
        words = ("bisect", *subject_words(subject), *probe_words(probes))
        wall = hgm((*words, "--runs-dir", str(runs)), own, context, ok=(0, 1)).wall
        found = from_json(next(runs.glob("bisect-*/bisect.json")).read_bytes(), Bisection)
        if found.result != "found":
            raise SpecError(
                f"the bisection found no culprit ({found.result}): {found.evidence}",
                hint="use a series whose last kernel is bad and whose source is good",
            )
        makes, boots = _by_hand(found, tree, context)
    needed = f"{len(makes)} bare makes and {len(boots)} boots"
    whole = _ratio("hgm bisect", needed, wall, sum(makes) + sum(boots))
    guests = _ratio("its guests", "bare boots", found.guest_seconds, sum(boots))
    if not makes:
        return whole, guests
    return whole, _ratio("its makes", "bare makes", found.make_seconds, sum(makes)), guests


def _ratio(what: str, base: str, seconds: float, base_seconds: float) -> Ratio:
    return Ratio(what=what, base=base, seconds=(seconds,), base_seconds=(base_seconds,))


def _by_hand(found: Bisection, tree: BareTree, context: Context) -> tuple[list[float], list[float]]:
    """Make and boot what a bisection did; return the seconds of each make and each boot."""
    makes, boots = [], []
    for number, step in enumerate(found.evaluations, 1):
        context.progress.stage(
            "bench", f"{number} of {len(found.evaluations)}: {step.candidate.name}"
        )
        made_of = _made_of(step)
        if step.built:
            makes.append(tree.build(made_of.kernel).wall)
        argv = bare_boot(made_of.kernel, made_of.image, made_of.machine, made_of.accel, os.devnull)
        boots += [cost(argv, context).wall for _ in range(step.runs)]
    return makes, boots


def _ends_built(ends: Sequence[KernelRequest], own: Workspace, context: Context) -> BareTree:
    """Build kernels with the harness, and then in a bare tree, which is returned."""
    inner = dataclasses.replace(context, workspace=own)
    context.progress.stage("bench", "both ends, built by hgm")
    kernels = [obtain(end, inner, build_log=Path("build.log")) for end in ends]
    context.progress.stage("bench", "both ends, built by make")
    tree = BareTree(own, arch(kernels[0].arch), context)
    for kernel in kernels:
        tree.build(kernel)
    return tree


def _made_of(step: Evaluation) -> Ingredients:
    """Return what the run of an evaluation was made of.

    Raises:
        SpecError: if it had no kernel.
    """
    run_dir = Path(step.run_dir)
    if not (run_dir / rundir.INGREDIENTS).exists():
        raise SpecError(
            f"{step.candidate.name} was not built: {step.reason}",
            hint="use a series of which every kernel builds",
        )
    return rundir.load_ingredients(run_dir)
