# SPDX-License-Identifier: GPL-2.0-only
"""`hgm b4-check`: the check command that b4 runs on a patch or a series."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import machine_options, probes_option, timeout_option

if TYPE_CHECKING:
    from harness.context import Context
    from harness.run.request import RunRequest

#: The smallest probes: each subsystem that a patch of mm/hugetlb.c or userfaultfd.c soon breaks.
_QUICK = (
    "baseline/memfd-map/2M",
    "baseline/minor-fault/2M",
    "baseline/missing-copy/2M",
    "baseline/fork-private/2M",
    "hgm/split/2M",
    "hgm/continue-4k/2M",
)


@click.command("b4-check")
@click.option(
    "--kernel",
    default="",
    metavar="SPEC",
    help="The kernel source that the series is applied to.  [default: its base-commit, else the "
    "commit that is checked out]",
)
@click.option(
    "--mail-from",
    default="",
    metavar="PLACE",
    help="Where to find the series of a patch that is not applied, as for `hgm run`.  [default: "
    "b4's own copy, else lore.kernel.org]",
)
@click.option(
    "--config",
    "features",
    multiple=True,
    metavar="NAME",
    help="Add a feature of kernel-configs or a Kconfig fragment file; repeatable.",
)
@machine_options
@probes_option("default: six of the smallest")
@click.option("--full", is_flag=True, help="Run all probes, not only the smallest.")
@click.option("--build-only", is_flag=True, help="Build the kernel and boot nothing.")
@click.option(
    "--whole",
    is_flag=True,
    help="Test the whole series even if the mail is a single patch of it; for "
    "b4.review-series-check-cmd.",
)
@click.option(
    "--lines",
    "as_lines",
    is_flag=True,
    help="Print lines as checkpatch does instead of JSON; for b4.prep-perpatch-check-cmd and "
    "b4.am-perpatch-check-cmd.",
)
@click.option(
    "--runs-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory in which run directories are created.  [default: b4 in the cache]",
)
@timeout_option
def b4_check(as_lines: bool, runs_dir: Path | None, timeout: float, **options: Any) -> int:
    """Test the patch in a mail, as a check command of b4.

    It reads the mail from standard input. In the repository in which b4 runs it builds the kernel
    with the patch and those of its series before it, boots it, and runs the smallest probes.
    A cover letter stands for the whole series.
    Example: `git config b4.review-perpatch-check-cmd 'hgm b4-check'`.
    """
    from harness import pipeline
    from harness.context import Context
    from harness.deadline import Deadline
    from harness.progress import Silent
    from harness.report import b4
    from harness.workspace import Workspace

    deadline = Deadline.after(timeout, "the command (--timeout)")
    # b4 takes each line on standard error for a failure.
    context = Context(Workspace.default(), deadline, Silent())
    request = _request(sys.stdin.buffer.read(), context, **options)
    record = pipeline.run(request, runs_dir or context.workspace.room("b4"), context)
    if as_lines:
        sys.stdout.writelines(f"{line}\n" for line in b4.lines(record))
    else:
        click.echo(b4.to_json(record))
    return record.exit_code


def _request(
    mail: bytes, context: Context, *, kernel: str, mail_from: str, whole: bool, **options: Any
) -> RunRequest:
    import msgspec

    from harness.cli.options import machine_of
    from harness.kernel import checked_mail
    from harness.run.request import RunRequest
    from harness.run.subject import Subject

    if options["full"] and options["probes"]:
        raise click.UsageError("give --full or --probe, not both")
    found = checked_mail.kernel_of(
        mail,
        Path.cwd(),
        context,
        whole=whole,
        source=kernel,
        mail_from=mail_from,
        tracking=checked_mail.read_tracking(os.environ.get("B4_TRACKING_FILE", "")),
    )
    found = msgspec.structs.replace(found, features=options["features"])
    return RunRequest(
        subject=Subject(kernel=found, machine=machine_of(**options), accel=options["accel"]),
        probes=() if options["full"] else options["probes"] or _QUICK,
        build_only=options["build_only"],
    )
