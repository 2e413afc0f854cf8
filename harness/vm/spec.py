# SPDX-License-Identifier: GPL-2.0-only
"""From a machine's description to QEMU's command line. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.arch import arch
from harness.errors import SpecError
from harness.records.base import Record
from harness.records.machine import HugePages, MachineSpec, size_name
from harness.sizes import parse_size

#: CPUs and NUMA nodes of a machine by default.
DEFAULT_CPUS = 2
DEFAULT_NODES = 1

# A panic prints the backtraces of all CPUs (PANIC_PRINT_ALL_CPU_BT in kernel/panic.c).
_PANIC_BACKTRACES = 0x40


class Launch(Record, frozen=True, kw_only=True):
    """Everything that QEMU's command line depends on.

    Attributes:
        machine: what to boot.
        accel: ``kvm`` or ``tcg``.
        cpu: CPU model for that accelerator.
        kernel: path of the kernel's image.
        initrd: path of the initramfs, with the run's overlay at its end; empty for none, which is
            enough to see whether a kernel starts.
        disk: path of the read-only disk; empty for none.
        append: more words for the kernel's command line.
        memory: paths of the files with the memory of each node; empty for memory that is not to be
            saved.
        files: path of the raw disk with the files of a guest that is restored; empty for none.
        restored: whether the guest goes on from where it was saved.
        mapped: whether ``memory`` are the files of the saved guest, of which this one gets the
            pages that it does not write to; otherwise they are this guest's own.
        monitor: path of a socket on which QEMU answers another QMP client; empty for none.
        qmp_fd: file descriptor of the QMP socket, already connected.
        console_fd: file descriptor of the serial console's socket, already connected.
    """

    machine: MachineSpec
    accel: str
    cpu: str
    kernel: str
    initrd: str = ""
    disk: str = ""
    append: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    files: str = ""
    restored: bool = False
    mapped: bool = False
    monitor: str = ""
    qmp_fd: int
    console_fd: int


def parse_hugepages(text: str, arch_name: str) -> tuple[HugePages, ...]:
    """Return the pages that ``1G:2,2M:64`` asks for, largest first.

    Raises:
        SpecError: on an unknown form or size, a size given twice, or a count that is not a number.
    """
    guest = arch(arch_name)
    sizes = {name: parse_size(name, "--hugepages") for name in guest.hugepage_sizes}
    pages: dict[int, int] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, colon, count = item.partition(":")
        size = sizes.get(name.upper().removesuffix("B"))
        if not colon or not count.isascii() or not count.isdigit() or size is None:
            raise SpecError(
                f"--hugepages: {item!r} is not SIZE:COUNT",
                hint=f"write it like {guest.hugepages}; sizes are {', '.join(sizes)}",
            )
        if size in pages:
            raise SpecError(f"--hugepages: {name} is given twice", hint="give each size once")
        pages[size] = int(count)
    return tuple(HugePages(size=size, count=pages[size]) for size in sorted(pages, reverse=True))


def machine(
    hugepages: Sequence[HugePages],
    *,
    memory: int | None = None,
    cpus: int = DEFAULT_CPUS,
    nodes: int = DEFAULT_NODES,
    spare: int = 0,
    arch_name: str,
) -> MachineSpec:
    """Return a machine with enough memory for its huge pages.

    Args:
        hugepages: what it reserves at boot.
        memory: bytes; computed from the huge pages where it is None. Memory that the guest never
            touches costs the host nothing.
        cpus: virtual CPUs.
        nodes: NUMA nodes.
        spare: bytes to add where the memory is computed.
        arch_name: the architecture.

    Raises:
        SpecError: if no machine has such numbers.
    """
    reserved = sum(pages.size * pages.count for pages in hugepages)
    if not 1 <= nodes <= 8 or cpus < nodes or cpus % nodes:
        raise SpecError(
            f"{cpus} CPUs cannot be divided evenly among {nodes} NUMA nodes",
            hint="give each of 1 to 8 nodes the same number of CPUs (--cpus)",
        )
    if memory is None:
        gib = 2**30
        wanted = reserved + arch(arch_name).memory_overhead * nodes + spare
        memory = -(-wanted // (gib * nodes)) * gib * nodes
    elif memory <= reserved:
        raise SpecError(
            f"--memory {memory >> 20}M is not enough for {reserved >> 20}M of huge pages",
            hint="without --memory it is computed from --hugepages",
        )
    return MachineSpec(
        hugepages=tuple(hugepages),
        memory=memory,
        cpus=cpus,
        nodes=nodes,
        arch=arch_name,
    )


def gigantic_pages(machine: MachineSpec) -> tuple[HugePages, ...]:
    """Return the pages that are too large for the page allocator, so that they may come from CMA.

    The largest are first, as CMA must be asked for them before smaller ones are scattered in it.
    """
    names = arch(machine.arch).gigantic_sizes
    found = (pages for pages in machine.hugepages if size_name(pages.size) in names)
    return tuple(sorted(found, key=lambda pages: -pages.size))


def gigantic_bytes(machine: MachineSpec) -> int:
    """Return how many bytes the machine's gigantic pages have."""
    return sum(pages.size * pages.count for pages in gigantic_pages(machine))


def kernel_command_line(launch: Launch) -> str:
    """Return the kernel's command line: console, huge pages, and what to do in a panic."""
    guest = arch(launch.machine.arch)
    words = [
        f"console={guest.console}",
        guest.early_console,
        *guest.append,
        # A panic reboots at once, and -no-reboot turns that into the end of QEMU, so that there is
        # an event to wait for.
        "panic=-1",
        # An oops ends the guest while its memory still shows the cause.
        "oops=panic",
        f"panic_print={_PANIC_BACKTRACES:#x}",
        # Distributions' kernels answer few keys of sysrq otherwise.
        "sysrq_always_enabled",
        # The harness marks each probe on the console by writing to /dev/kmsg.
        "printk.devkmsg=on",
        *(word for pages in launch.machine.hugepages for word in _pool_words(pages, launch)),
        *(("hugetlb_free_vmemmap=on",) if launch.machine.hvo else ()),
        *_cma_words(launch.machine),
        # Init reads it in its environment.
        *(("hgm_saved=1",) if launch.memory else ()),
        *launch.append,
    ]
    return " ".join(words)


def _cma_words(machine: MachineSpec) -> tuple[str, ...]:
    if not machine.hugetlb_cma:
        return ()
    # The kernel refuses less than one page of the largest size (hugetlb_cma_reserve()).
    unit = parse_size(arch(machine.arch).gigantic_sizes[0], "the largest size")
    return (f"hugetlb_cma={-(-gigantic_bytes(machine) // unit) * unit}",)


def _pool_words(pages: HugePages, launch: Launch) -> list[str]:
    if launch.machine.hugetlb_cma and pages in gigantic_pages(launch.machine):
        return []  # `harness.vm.pool.fill_from_cma` reserves them
    nodes = launch.machine.nodes
    count = str(pages.count)
    if nodes > 1:
        share, rest = divmod(pages.count, nodes)
        count = ",".join(f"{node}:{share + (node < rest)}" for node in range(nodes))
    return [f"hugepagesz={size_name(pages.size)}", f"hugepages={count}"]


def qemu_argv(launch: Launch) -> tuple[str, ...]:
    """Return QEMU's whole command line for a launch."""
    return (
        *_machine_argv(launch),
        # Paused, so that QMP and the console are attached before the first instruction.
        "-S",
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-chardev", f"socket,id=qmp,fd={launch.qmp_fd}"),
        *("-mon", "chardev=qmp,mode=control"),
        *("-chardev", f"socket,id=console,fd={launch.console_fd}"),
        *("-serial", "chardev:console"),
        # Port 0: the host's kernel picks a free one, so two guests cannot collide. `restrict`
        # leaves the guest no network but this one connection from loopback.
        *("-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        *("-device", "virtio-rng-pci"),
        # The kernel reports panics through the first, and vmcoreinfo for drgn through the second.
        *("-device", "pvpanic-pci"),
        *("-device", "vmcoreinfo"),
        # By default a panic ends as the kernel decides; `Guest.pause_on_death` changes that.
        *("-action", "panic=none"),
        *_disk_argv("disk", launch.disk),
        *_disk_argv("files", launch.files),
        # What to restore comes by QMP, once both sides have agreed on how.
        *(("-incoming", "defer") if launch.restored else ()),
        *_monitor_argv(launch.monitor),
        *_boot_argv(launch),
    )


def bare_argv(launch: Launch, serial_log: str) -> tuple[str, ...]:
    """Return the simplest QEMU command line that boots a launch, for benchmarks to compare with."""
    return (
        *_machine_argv(launch),
        *("-serial", f"file:{serial_log}"),
        *_boot_argv(launch),
    )


def _machine_argv(launch: Launch) -> tuple[str, ...]:
    guest = arch(launch.machine.arch)
    machine = guest.machine_kvm if launch.accel == "kvm" else guest.machine
    return (
        guest.qemu,
        "-no-user-config",
        "-nodefaults",
        *("-machine", f"{machine},accel={launch.accel}"),
        *("-cpu", launch.cpu),
        *("-smp", _topology(launch.machine)),
        *_memory_argv(launch),
        *("-display", "none"),
        "-no-reboot",
    )


def _topology(spec: MachineSpec) -> str:
    """Return the CPUs, a socket for each node: Linux warns of nodes that share a socket."""
    return f"cpus={spec.cpus},sockets={spec.nodes},cores={spec.cpus // spec.nodes},threads=1"


def _boot_argv(launch: Launch) -> tuple[str, ...]:
    return (
        *("-kernel", launch.kernel),
        *(("-initrd", launch.initrd) if launch.initrd else ()),
        *("-append", kernel_command_line(launch)),
    )


def _memory_argv(launch: Launch) -> tuple[str, ...]:
    spec = launch.machine
    share = spec.memory // spec.nodes
    argv = ["-m", f"size={share * spec.nodes}b"]
    if spec.nodes == 1 and not launch.memory:
        return tuple(argv)
    cores = spec.cpus // spec.nodes
    for node in range(spec.nodes):
        argv += ["-object", f"{_backend(launch, node)},id=node{node},size={share}b"]
        if spec.nodes == 1:
            argv += ["-machine", "memory-backend=node0"]
            break
        cpus = f"{node * cores}-{(node + 1) * cores - 1}"
        argv += ["-numa", f"node,nodeid={node},memdev=node{node},cpus={cpus}"]
    return tuple(argv)


def _backend(launch: Launch, node: int) -> str:
    """Return the memory of a node: that of a saved guest is copied where it is written to."""
    if not launch.memory:
        return "memory-backend-ram"
    share = "off" if launch.mapped else "on"
    return f"memory-backend-file,mem-path={_quoted(launch.memory[node])},share={share}"


def _disk_argv(name: str, path: str) -> tuple[str, ...]:
    if not path:
        return ()
    return (
        "-drive",
        f"if=none,id={name},file={_quoted(path)},format=raw,readonly=on",
        "-device",
        f"virtio-blk-pci,drive={name}",
    )


def _quoted(path: str) -> str:
    """Return a path as QEMU's options take it: a comma ends the value, a doubled one does not."""
    return str(Path(path)).replace(",", ",,")


def _monitor_argv(path: str) -> tuple[str, ...]:
    return ("-qmp", f"unix:{_quoted(path)},server=on,wait=off") if path else ()
