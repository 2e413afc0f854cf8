# SPDX-License-Identifier: GPL-2.0-only
"""The request for a run."""

from __future__ import annotations

from harness.kernel import specs
from harness.records.base import Record
from harness.records.run import REPORT, Profile, RequestSummary
from harness.run.subject import Subject


class RunRequest(Record, frozen=True, kw_only=True):
    """The request for a run; `hgm run` makes one from its options.

    Attributes:
        subject: which kernel on which machine.
        expect: what the kernel is expected to be.
        strict: whether known issues of the kernel fail the run.
        probes: globs over probe names; all probes when empty, none when only kselftests are asked.
        touched: a series; of these probes only those that look at a file of it; empty for all.
        touched_from: ``--mail-from`` of that series, if it is ``lore:``.
        kselftests: the kernel's own tests, by words like ``mm`` or ``mm:hugetlb-madvise``.
        repeat: how often each probe is run.
        alone: whether each probe has a guest of its own.
        fresh_guest: whether that guest is restored from a snapshot.
        guests: how many guests may run at the same time.
        build_only: whether it ends once the kernel is built, with a verdict that says so.
    """

    subject: Subject
    expect: Profile = REPORT
    strict: bool = False
    probes: tuple[str, ...] = ()
    touched: str = ""
    touched_from: str = ""
    kselftests: tuple[str, ...] = ()
    repeat: int = 1
    alone: bool = False
    fresh_guest: bool = False
    guests: int = 1
    build_only: bool = False

    @property
    def summary(self) -> RequestSummary:
        """Return what the record keeps of it.

        Raises:
            SpecError: if the form of the source or the series is not known.
        """
        kernel = self.subject.kernel
        return RequestSummary(
            kernel=specs.parse_source(kernel.source).line,
            series=specs.parse_series(kernel.series, kernel.mail_from).line,
            first=kernel.first,
            extra=kernel.extra,
            features=kernel.features,
            probes=self.probes,
            touched=specs.parse_series(self.touched).line if self.touched else "",
            kselftests=self.kselftests,
            build_only=self.build_only,
        )
