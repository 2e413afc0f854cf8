# SPDX-License-Identifier: GPL-2.0-only
"""The options that commands share, and the requests made from them.

Like every module of this package it imports stages inside functions only, to keep `--help` quick.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from harness.arch import Arch
    from harness.context import Cluster, Context
    from harness.kernel.obtain import KernelRequest
    from harness.records.base import Record
    from harness.records.machine import MachineSpec
    from harness.report.progress import Display
    from harness.run.subject import Subject

DEFAULT_KERNEL = "debian:linux-source-6.12"
DEFAULT_TIMEOUT = 7200

Command = Callable[..., Any]


def completed_by(values: Callable[[], Iterable[str]]) -> Callable[..., list[str]]:
    """Return a callback for the shell's completion of an option that takes one of some words."""

    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
        return [word for word in values() if word.startswith(begun)]

    return complete


def _arches() -> Iterable[str]:
    from harness.arch import arches

    return [each.kernel for each in arches().values()]


def _features() -> Iterable[str]:
    from harness.kernel import fragments

    others = {path.stem for path in fragments.DIRECTORY.glob("*.config")}
    return sorted(others - set(fragments.ALWAYS))


def _series() -> Iterable[str]:
    from harness.kernel import faults, registry

    names = (series.name for series in registry.load())
    return ("none", *names, *(f"fault:{fault.name}" for fault in faults.load()))


def _probes() -> Iterable[str]:
    from harness.probes import catalog

    specs = catalog.load()
    return (*dict.fromkeys(catalog.family(spec.name) for spec in specs), *(s.name for s in specs))


class _ArchOption(click.Option):
    """An option whose help names what the table of architectures has."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from harness.arch import arches

        name, text = super().get_help_record(ctx) or ("", "")
        guests = arches().values()
        return name, text.format(
            arches=" or ".join(each.kernel for each in guests),
            hugepages="; ".join(f"{each.hugepages} on {each.kernel}" for each in guests),
        )


#: Adds the option that says which architecture; its value is empty if it is not given.
arch_option = click.option(
    "--arch",
    cls=_ArchOption,
    default="",
    metavar="ARCH",
    shell_complete=completed_by(_arches),
    help="Architecture of the guest: {arches}.  [default: that of image:, else this host's]",
)


def kernel_options(function: Command) -> Command:
    """Add the options that say which kernel."""
    config = click.option(
        "--config",
        "features",
        multiple=True,
        metavar="NAME",
        shell_complete=completed_by(_features),
        help="Add a feature of kernel-configs (debug, kasan, no-hgm ...) or a Kconfig fragment "
        "file to the configuration; repeatable.",
    )
    return arch_option(source_options(config(function)))


def source_options(function: Command) -> Command:
    """Add the options that say which source and which patches."""
    for option in (
        click.option(
            "--resolve",
            metavar="DIR",
            default="",
            help="A directory of ported patches; each replaces the patch of the series with the "
            "same number or name.",
        ),
        click.option(
            "--fuzz",
            is_flag=True,
            help="If a patch does not apply, try again with less context, but at least one line on "
            "each side. A patch that only applies at an offset does not need this.",
        ),
        click.option(
            "--mail-from",
            metavar="PLACE",
            default="",
            help="Where to find the mails of lore:MESSAGE-ID: an mbox, a Maildir, a "
            "public-inbox, or its URL.  [default: lore.kernel.org]",
        ),
        click.option(
            "--with",
            "extra",
            multiple=True,
            metavar="PATCH",
            help="A patch to put on top of the series, or of its first N patches: a file, or the "
            "number of a patch of the series; repeatable.",
        ),
        click.option(
            "--first",
            type=click.IntRange(min=0),
            metavar="N",
            help="Apply only the first N patches of the series.  [default: all]",
        ),
        click.option(
            "--series",
            metavar="SPEC",
            shell_complete=completed_by(_series),
            help="Patches to apply to the source: none, dir:PATH, mbox:PATH, git:REPO@A..B, "
            "lore:MESSAGE-ID, fault:NAME, or a name from `hgm series list`.  [default: the series "
            "that `hgm series list` names for this source, else none]",
        ),
        click.option(
            "--kernel",
            default=DEFAULT_KERNEL,
            show_default=True,
            metavar="SPEC",
            help="The kernel source: debian:PACKAGE[@SUITE][=VERSION], tree:PATH, "
            "git:PATH-OR-URL@REV, tar:PATH-OR-URL[#sha256=HEX], or image:FILE for a built "
            "kernel.",
        ),
    ):
        function = option(function)
    return function


def machine_options(function: Command) -> Command:
    """Add the options that say which machine."""
    for option in (
        click.option(
            "--hugetlb-cma",
            is_flag=True,
            help="Reserve gigantic pages (1G) out of CMA (hugetlb_cma=); needs --config cma.",
        ),
        click.option(
            "--hvo",
            is_flag=True,
            help="Let the kernel free the memory map of huge pages (hugetlb_free_vmemmap=on).",
        ),
        click.option(
            "--nodes",
            type=int,
            default=1,
            show_default=True,
            metavar="N",
            help="NUMA nodes of the guest.",
        ),
        click.option(
            "--cpus",
            type=int,
            default=2,
            show_default=True,
            metavar="N",
            help="CPUs of the guest.",
        ),
        click.option(
            "--memory",
            metavar="SIZE",
            help="Memory of the guest, such as 8G.  [default: enough for --hugepages]",
        ),
        click.option(
            "--hugepages",
            cls=_ArchOption,
            metavar="SIZE:COUNT,...",
            help="Huge pages that the guest reserves at boot, by size.  [default: {hugepages}]",
        ),
        accel_option,
    ):
        function = option(function)
    return function


#: Adds the option that says what runs a guest.
accel_option = click.option(
    "--accel",
    type=click.Choice(["auto", "kvm", "tcg"]),
    default="auto",
    show_default=True,
    help="QEMU's accelerator; auto is KVM if a kernel was seen to boot under it on this host, else "
    "TCG.",
)


def subject_options(function: Command) -> Command:
    """Add the options that say which kernel on which machine, and for how long."""
    return kernel_options(machine_options(timeout_option(function)))


def limit_option(what: str) -> Callable[[Command], Command]:
    """Return what adds the option that bounds something."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=1),
        default=DEFAULT_TIMEOUT,
        show_default=True,
        metavar="SECONDS",
        help=f"Limit for {what}.",
    )


#: Adds the option that bounds the whole command.
timeout_option = limit_option("the whole command")


def probes_option(default: str) -> Callable[[Command], Command]:
    """Return what adds the option that chooses probes; the default is in words."""
    return click.option(
        "--probe",
        "probes",
        multiple=True,
        metavar="GLOB",
        shell_complete=completed_by(_probes),
        help="Run the probes whose names match, such as 'hgm/*/1G'; options for them may follow "
        f"('hgm/postcopy --uffds 2'); repeatable.  [{default}]",
    )


#: Adds the option that chooses probes.
probe_option = probes_option("default: all")


def runs_dir_option(text: str) -> Callable[[Command], Command]:
    """Return what adds the option that names a directory of runs, with its help."""
    return click.option(
        "--runs-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("runs"),
        show_default=True,
        help=text,
    )


#: Adds the option that says where run directories go.
runs_option = runs_dir_option("Directory in which run directories are created.")


def guest_arch(name: str, kernel: str = "") -> Arch:
    """Return the architecture of `arch_option`, as `harness.kernel.guest_arch` says."""
    from harness.kernel import guest_arch

    return guest_arch.choose(name, kernel)


def subject_of(accel: str, **options: Any) -> Subject:
    """Return what is under test, from the options of `kernel_options` and `machine_options`."""
    from harness.run.subject import Subject

    kernel = kernel_request(**options)
    machine = machine_of(**{**options, "arch": kernel.arch})
    return Subject(kernel=kernel, machine=machine, accel=accel)


def kernel_request(
    kernel: str,
    series: str | None,
    features: tuple[str, ...] = (),
    first: int | None = None,
    arch: str = "",
    **options: Any,
) -> KernelRequest:
    """Return the kernel request of `kernel_options` or `source_options`."""
    from harness.kernel import registry
    from harness.kernel.obtain import KernelRequest

    guest = guest_arch(arch, kernel)
    if series is None:
        ours = registry.default_for(kernel, guest.name)
        series = "none" if ours is None else ours.name
    return KernelRequest(
        source=kernel,
        series=series,
        features=features,
        first=first,
        extra=tuple(
            each if each.isdecimal() else str(Path(each).expanduser().absolute())
            for each in options["extra"]
        ),
        mail_from=options["mail_from"],
        resolve=options["resolve"],
        fuzz=options["fuzz"],
        arch=guest.name,
    )


def tls_option(function: Command) -> Command:
    """Add the option that names the certificates of a cluster."""
    return click.option(
        "--tls",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="HGM_CLUSTER_TLS",
        metavar="DIR",
        help="Directory with the certificates of the cluster, from `hgm cluster init`; needed "
        "unless the whole cluster is on this host. [default: $HGM_CLUSTER_TLS]",
    )(function)


def cluster_option(function: Command) -> Command:
    """Add the options that have the hosts of a cluster run the guests."""
    cluster = click.option(
        "--cluster",
        envvar="HGM_CLUSTER",
        metavar="ADDRESS",
        help="Have the workers of this scheduler run the guests; docs/howto/cluster.md. "
        "[default: $HGM_CLUSTER, else this host]",
    )
    return cluster(tls_option(function))


@contextlib.contextmanager
def open_context(
    timeout: float, cluster: str | None = None, tls: Path | None = None
) -> Iterator[Context]:
    """Yield the context of a command: the user's cache, its deadline, its progress, its cluster."""
    from harness.context import Context
    from harness.deadline import Deadline
    from harness.workspace import Workspace

    deadline = Deadline.after(timeout, "the command (--timeout)")
    with contextlib.ExitStack() as stack:
        display = stack.enter_context(new_display())
        hosts = stack.enter_context(_cluster(cluster, tls, display)) if cluster else None
        yield Context(Workspace.default(), deadline, display, hosts)


def _cluster(
    address: str, tls: Path | None, display: Display
) -> contextlib.AbstractContextManager[Cluster]:
    """Return the cluster of a scheduler."""
    require_dask()
    from harness.cluster import client
    from harness.cluster.address import endpoint

    return client.connected(endpoint(address, tls), display)


def require_dask() -> None:
    """Refuse where the program that connects hosts is not installed.

    Raises:
        ToolMissing: with what installs it.
    """
    import importlib.util

    from harness.errors import ToolMissing

    if importlib.util.find_spec("distributed") is None:
        raise ToolMissing(
            "dask.distributed is not installed", hint="pip install 'hgm-harness[cluster]'"
        )


def machine_of(
    hugepages: str | None,
    memory: str | None,
    cpus: int,
    nodes: int,
    hvo: bool,
    hugetlb_cma: bool,
    **more: Any,
) -> MachineSpec:
    """Return the machine of `machine_options`; ``spare`` bytes are added to a computed size."""
    import msgspec

    from harness.sizes import parse_size
    from harness.vm import spec

    guest = guest_arch(more.get("arch", ""))
    machine = spec.machine(
        spec.parse_hugepages(guest.hugepages if hugepages is None else hugepages, guest.name),
        memory=None if memory is None else parse_size(memory, "--memory"),
        cpus=cpus,
        nodes=nodes,
        spare=more.get("spare", 0),
        arch_name=guest.name,
    )
    return msgspec.structs.replace(machine, hvo=hvo, hugetlb_cma=hugetlb_cma)


#: Adds the option that only lists what a check of the harness would inject or seed.
list_option = click.option(
    "--list", "only_list", is_flag=True, help="List the faults and do nothing else."
)

#: Adds the option for a page in ``docs/results``.
markdown_option = click.option(
    "--markdown",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a Markdown page to this file.",
)

#: Adds the option for JSON; see `show`.
json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON on standard output, and the text on standard error.",
)


def show(result: Record, lines: Iterable[str], *, as_json: bool) -> None:
    """Write a result as lines; or as JSON to standard output, and the lines to standard error.

    What may not be on a terminal is replaced: a record may be another's, and none was printed yet.
    """
    from harness.report import columns, json

    stream = sys.stderr if as_json else sys.stdout
    stream.writelines(f"{columns.visible(line)}\n" for line in lines)
    if as_json:
        json.write(result, sys.stdout)


def new_display() -> Display:
    """Return the display of progress that suits standard error."""
    from harness.report import progress

    return progress.for_stream(sys.stderr)
