# SPDX-License-Identifier: GPL-2.0-only
"""`hgm post-mortem`, `hgm coverage`, `hgm bundle` and `hgm replay`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import (
    guest_arch,
    json_option,
    open_context,
    runs_option,
    show,
    timeout_option,
)

_RUN = click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))


@click.command("post-mortem")
@_RUN
@click.option(
    "--probe",
    "globs",
    multiple=True,
    metavar="GLOB",
    help="Only dumps of probes whose names match; repeatable.",
)
@click.option(
    "--vmlinux",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The kernel's vmlinux.  [default: from the cache]",
)
@timeout_option
def post_mortem(run_dir: Path, globs: tuple[str, ...], vmlinux: Path | None, timeout: float) -> int:
    """Print tasks, stacks, page tables from the dumps of a run."""
    from harness.evidence import postmortem
    from harness.store import rundir

    with open_context(timeout) as context:
        dumps = postmortem.dumps(run_dir, globs)
        record = rundir.load(run_dir)
        elf = vmlinux or postmortem.vmlinux(record, context.workspace)
        guest = guest_arch(record.machine.arch if record.machine is not None else "")
        release = record.kernel.release if record.kernel is not None else ""
        for dump in dumps:
            text = postmortem.write(dump.vmcore, elf, release, guest, context.deadline)
            click.echo(f"#### {dump.probe}\n{text}", nl=False)
    return 0


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--html",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write pages that show each line's count, and start with DIR/index.html.",
)
@json_option
@timeout_option
def coverage(runs: tuple[Path, ...], html: Path | None, as_json: bool, timeout: float) -> int:
    """Print which lines of the kernel the probes reached.

    The kernel must have been built with --config coverage. Several runs of one kernel are added up.
    """
    from harness.evidence import coverage as counted
    from harness.report import coverage as report

    with open_context(timeout) as context:
        found = counted.read(runs, context, html=html)
    show(found, report.lines(found), as_json=as_json)
    return 0


@click.command()
@_RUN
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The archive to write.  [default: ./hgm-RUN.tar.xz]",
)
@click.option("--vmcores", is_flag=True, help="Include memory dumps.")
@timeout_option
def bundle(run_dir: Path, output: Path | None, vmcores: bool, timeout: float) -> int:
    """Pack a run and its kernel into an archive for `hgm replay`."""
    from harness.store import bundle as archive
    from harness.workspace import Workspace

    target = output or Path(f"hgm-{run_dir.resolve().name}.tar.xz")
    with open_context(timeout) as context:
        missing = archive.write(
            run_dir, target, Workspace.default(), context.deadline, vmcores=vmcores
        )
    for line in missing:
        click.echo(f"hgm: not in the archive: {line}", err=True)
    click.echo(target)
    return 0


@click.command()
@click.argument("directory", metavar="BUNDLE", type=click.Path(path_type=Path))
@runs_option
@click.option(
    "--accel",
    type=click.Choice(["auto", "kvm", "tcg"]),
    help="QEMU's accelerator.  [default: that of the run]",
)
@timeout_option
def replay(directory: Path, runs_dir: Path, accel: str | None, timeout: float) -> int:
    """Repeat the run of an unpacked bundle and compare results.

    Exit code 0 if every probe ended the same, else 1.
    """
    from harness.campaign import replay as campaign

    with open_context(timeout) as context:
        again = campaign.replay(directory, runs_dir, accel or "", context)
    for probe in again.probes:
        how = probe.now if probe.then == probe.now else f"{probe.then} -> {probe.now}"
        click.echo(f"{how:<14} {probe.name}{probe.reason and f': {probe.reason}'}")
    for note in again.notes:
        click.echo(f"note           {note}")
    click.echo(f"record         {again.now.run_dir}")
    verdict = "the same" if again.same else f"not the same: it was {again.then.verdict}"
    click.echo(f"{again.now.verdict}: {verdict}")
    return again.exit_code
