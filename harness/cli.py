# SPDX-License-Identifier: GPL-2.0-only
"""Arguments in, exit code out. Everything else is called from here and lives elsewhere.

Modules of the stages are imported by the command that needs them, so that `--help` and a warm run
do not pay for the others.
"""

from __future__ import annotations

import errno
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

import harness
from harness.deadline import Deadline
from harness.errors import HarnessError, NoSpace
from harness.host import ROOT
from harness.workspace import Workspace

if TYPE_CHECKING:
    from harness.kernel.obtain import KernelRequest
    from harness.pipeline import RunRequest
    from harness.records import MachineSpec
    from harness.reports.progress import Display
    from harness.session import Subject, Tools

DEFAULT_KERNEL = "debian:linux-source-6.12"
DEFAULT_TIMEOUT = 7200.0

_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(harness.__version__, prog_name="hgm")
def hgm() -> None:
    """Build a kernel, boot it with 1 GiB huge pages, probe it, and say whether it is right.

    Exit codes: 0 as expected, 1 a probe failed, 2 the caller's mistake, 3 infrastructure,
    130 interrupted.
    """


Command = Callable[..., Any]


def kernel_options(function: Command) -> Command:
    """Add the options that say which kernel."""
    for option in (
        click.option(
            "--config",
            "features",
            multiple=True,
            metavar="NAME",
            help="Add a configuration feature (debug, kasan) or a fragment file; repeatable.",
        ),
        click.option(
            "--series",
            default="none",
            show_default=True,
            metavar="SPEC",
            help="Patches to put on top: none, dir:PATH, mbox:PATH.",
        ),
        click.option(
            "--kernel",
            default=DEFAULT_KERNEL,
            show_default=True,
            metavar="SPEC",
            help="debian:PACKAGE, tree:PATH, git:PATH-OR-URL@REV, tar:PATH-OR-URL[#sha256=HEX] "
            "or image:BZIMAGE.",
        ),
    ):
        function = option(function)
    return function


def machine_options(function: Command) -> Command:
    """Add the options that say which machine."""
    for option in (
        click.option(
            "--nodes", type=int, default=1, show_default=True, help="NUMA nodes of the guest."
        ),
        click.option("--cpus", type=int, default=2, show_default=True, help="CPUs of the guest."),
        click.option(
            "--memory", metavar="SIZE", help="Guest memory; sized from --hugepages by default."
        ),
        click.option(
            "--hugepages",
            default="1G:2,2M:64",
            show_default=True,
            metavar="SIZE:COUNT,...",
            help="Huge pages that the guest reserves at boot.",
        ),
        click.option(
            "--accel",
            type=click.Choice(["auto", "kvm", "tcg"]),
            default="auto",
            show_default=True,
            help="auto takes KVM where a guest has been seen to live under it, else TCG.",
        ),
    ):
        function = option(function)
    return function


def timeout_option(function: Command) -> Command:
    """Add the option that bounds the whole command."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=1),
        default=DEFAULT_TIMEOUT,
        show_default=True,
        metavar="SECONDS",
        help="Time for the whole command.",
    )(function)


@hgm.command()
@kernel_options
@machine_options
@timeout_option
@click.option(
    "--probe",
    "probes",
    multiple=True,
    metavar="GLOB",
    help="Run the probes whose names match; repeatable. All by default.",
)
@click.option(
    "--expect",
    type=click.Choice(["report", "hgm", "stock"]),
    default="report",
    show_default=True,
    help="hgm: a kernel without it fails; stock: a kernel with it fails.",
)
@click.option(
    "--runs-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where run directories are made.",
)
@click.option("--json", "as_json", is_flag=True, help="Print result.json on standard output.")
def run(as_json: bool, runs_dir: Path, timeout: float, **options: Any) -> int:
    """Build, boot and probe a kernel, and say in one table what it does."""
    from harness import pipeline
    from harness.reports import json, text

    request = _run_request(**options)
    with _display() as display:
        record = pipeline.run(request, runs_dir, _tools(timeout, display))
    text.write(record, sys.stderr if as_json else sys.stdout)
    if as_json:
        json.write(record, sys.stdout)
    return record.exit_code


def _run_request(*, probes: tuple[str, ...], expect: Any, **options: Any) -> RunRequest:
    from harness.pipeline import RunRequest

    return RunRequest(
        subject=_subject(**options),
        expect=expect,
        probes=probes,
        # From anywhere, and with paths that were meant from here.
        command=("env", "-C", str(Path.cwd()), str(ROOT / "hgm"), *sys.argv[1:]),
    )


def _subject(accel: str, **options: Any) -> Subject:
    from harness.session import Subject

    return Subject(kernel=_kernel_request(**options), machine=_machine(**options), accel=accel)


def _kernel_request(kernel: str, series: str, features: tuple[str, ...], **_: Any) -> KernelRequest:
    from harness.kernel.obtain import KernelRequest

    return KernelRequest(source=kernel, series=series, features=features)


def _tools(timeout: float, display: Display) -> Tools:
    from harness.session import Tools

    return Tools(Workspace.default(), Deadline.after(timeout, "the command (--timeout)"), display)


def _machine(hugepages: str, memory: str | None, cpus: int, nodes: int, **_: Any) -> MachineSpec:
    from harness.vm import spec

    return spec.machine(
        spec.parse_hugepages(hugepages),
        memory=None if memory is None else spec.parse_size(memory, "--memory"),
        cpus=cpus,
        nodes=nodes,
    )


def _display() -> Display:
    from harness.reports import progress

    return progress.for_stream(sys.stderr)


@hgm.group()
def kernel() -> None:
    """Sources and builds."""


@kernel.command("build")
@kernel_options
@timeout_option
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), default=Path("build.log"))
def kernel_build(log: Path, timeout: float, **options: Any) -> int:
    """Build a kernel, or find it finished, and print where it lies."""
    from harness.kernel.obtain import obtain

    with _display() as display:
        tools = _tools(timeout, display)
        built = obtain(_kernel_request(**options), build_log=log, **tools.arguments())
    click.echo(built.image)
    return 0


@kernel.command("fetch")
@click.option("--kernel", "source", default=DEFAULT_KERNEL, show_default=True, metavar="SPEC")
@timeout_option
def kernel_fetch(source: str, timeout: float) -> int:
    """Fetch the newest version of a source, which later runs then use, without building it."""
    from harness.kernel.obtain import fetch

    with _display() as display:
        found = fetch(source, **_tools(timeout, display).arguments())
    click.echo(f"{found.origin}, tree {found.tree}")
    return 0


@hgm.group()
def image() -> None:
    """Guest images."""


@image.command("build")
@timeout_option
@click.option("--refresh", is_flag=True, help="Take the newest packages instead of the last ones.")
def image_build(timeout: float, refresh: bool) -> int:
    """Build the guest image, or find it finished, and print where its parts lie."""
    from harness.guest import image as guest_image

    with _display() as display:
        tools = _tools(timeout, display)
        built = guest_image.obtain(refresh=refresh, **tools.arguments())
    click.echo(f"{built.initramfs}\n{built.disk}")
    return 0


@hgm.group()
def guest() -> None:
    """Booted guests."""


@guest.command("shell")
@kernel_options
@machine_options
@timeout_option
@click.option("--disk/--no-disk", default=True, help="Mount the disk with Python and GNU tools.")
@click.argument("command", nargs=-1)
def guest_shell(command: tuple[str, ...], timeout: float, disk: bool, **options: Any) -> int:
    """Boot a guest with every probe in it, and open a shell in it, or run COMMAND."""
    from harness import shell

    with _display() as display:
        tools = _tools(timeout, display)
        return shell.open_shell(_subject(**options), command, tools, display, disk=disk)


@hgm.group()
def probes() -> None:
    """What is tested."""


@probes.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the catalogue as JSON.")
@click.argument("globs", nargs=-1)
def probes_list(globs: tuple[str, ...], as_json: bool) -> int:
    """List the probes, or those that match GLOBS, with what each shows."""
    import msgspec

    from harness.probes import catalog
    from harness.reports import catalog as listing

    chosen = catalog.select(catalog.load(), globs)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(chosen), indent=2))
    else:
        listing.write(chosen, sys.stdout)
    return 0


@hgm.command()
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the judged record as JSON.")
def judge(run_dir: Path, as_json: bool) -> int:
    """Judge the evidence of RUN, a run directory, again; nothing in it is changed."""
    from harness.reports import json, text
    from harness.results import store

    record = store.judged_again(run_dir)
    text.write(record, sys.stderr if as_json else sys.stdout)
    if as_json:
        json.write(record, sys.stdout)
    return record.exit_code


@hgm.group()
def cache() -> None:
    """Sources, builds, kernels and images that are kept outside of every checkout."""


@cache.command("list")
def cache_list() -> int:
    """List what the cache holds, longest unused first."""
    from harness.kernel import cache as contents
    from harness.reports import cache as listing

    workspace = Workspace.default()
    listing.write(contents.entries(workspace), workspace.cache, contents.limit(), sys.stdout)
    return 0


@cache.command("prune")
@click.option(
    "--keep",
    metavar="SIZE",
    help="Bytes that may stay, such as 10G; $HGM_CACHE_LIMIT or 20G by default. 0 empties it.",
)
def cache_prune(keep: str | None) -> int:
    """Remove what was not used for longest; what a process is using stays."""
    from harness.kernel import cache as contents
    from harness.reports import cache as listing

    size = contents.limit() if keep is None else contents.parse_size(keep)
    with _display() as display:
        gone = contents.prune(Workspace.default(), size, display)
    click.echo(f"removed {len(gone)} entries, {listing.gib(sum(each.size for each in gone))}")
    return 0


@hgm.command()
def doctor() -> int:
    """Say what is missing on this host, and the exact line that installs it."""
    from harness import doctor as host_doctor

    findings = host_doctor.examine(Workspace.default())
    host_doctor.write(findings, sys.stdout)
    return host_doctor.exit_code(findings)


@hgm.group()
def bench() -> None:
    """Ratios, measured in one run on one machine."""


@bench.command("boot")
@kernel_options
@machine_options
@timeout_option
@click.option("--probe", default="baseline/memfd-alias/2M", show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
def bench_boot(probe: str, rounds: int, timeout: float, **options: Any) -> int:
    """Compare `hgm run --probe NAME`, nothing changed, with a bare QEMU boot to power-off."""
    from harness.campaigns import bench as benchmarks

    with _display() as display:
        tools = _tools(timeout, display)
        result = benchmarks.boot(_subject(**options), probe, rounds, tools)
    click.echo(result.text())
    return 0


@hgm.command()
@click.argument("environments", nargs=-1)
def test(environments: tuple[str, ...]) -> int:
    """Run the project's own tests: lint, types, unit, component, kernel; all by default."""
    from harness import selftest

    return selftest.run(environments)


def main() -> NoReturn:
    """Run the command line; every end has its exit code and, if it is no good one, its line."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        code = hgm.main(prog_name="hgm", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = _say("interrupted", _INTERRUPTED)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "hgm"
        code = _say(f"{error.format_message()}; see `{path} --help`", 2)
    except HarnessError as error:
        for line in error.console:
            click.echo(f"console: {line}", err=True)
        code = _say(error.line(), error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last door: a defect of ours ends in a line too
        code = _unforeseen(error)
    sys.exit(code)


def _unforeseen(error: Exception) -> int:
    """Say what no stage foresaw: a full disk, a closed pipe, or a defect of ours."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _say(NoSpace(f"no space left: {error}", hint="free some space").line(), 3)
    if isinstance(error, BrokenPipeError):
        sys.stdout = None  # nobody reads it, so nothing is flushed
        return 3
    path = Workspace.default().room("tmp").parent / "traceback.txt"
    path.write_text("".join(traceback.format_exception(error)))
    return _say(f"internal error, please report it: {error!r}; traceback: {path}", 3)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str, code: int) -> int:
    click.echo(f"hgm: {text}", err=True)
    return code


if __name__ == "__main__":
    main()
