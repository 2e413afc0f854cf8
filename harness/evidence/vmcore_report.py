# SPDX-License-Identifier: GPL-2.0-only
"""A program: print what drgn finds in a memory dump.

``python -m harness.evidence.vmcore_report VMCORE VMLINUX RELEASE ARCH LEVELS``, with the kernel's
release and architecture and its levels of page tables.

It runs in a process of its own because drgn reads, in C, a dump that a hostile guest has made. It
prints the task that panicked, the stacks of all tasks, the holders of locks, the pools of huge
pages, and the hugetlb mappings of all processes with their page-table entries. An error takes the
place of what cannot be read; the rest is printed.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import drgn
from drgn.helpers.linux.fs import d_path
from drgn.helpers.linux.hugetlb import for_each_hstate, huge_page_size
from drgn.helpers.linux.mm import for_each_vma, virt_to_phys
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_cpu, task_state_to_char

from harness.arch import Arch, Drgn, arch
from harness.evidence import lock_owners, symbolize
from harness.judge import pagetable
from harness.judge.source_path import below_tree

_HUGETLB = 0x400000

# Bytes of physical memory that an address can name.
_PHYSICAL = 1 << 52

# show_smap_vma_flags() of fs/proc/task_mmu.c has what smaps calls each bit of vm_flags: 64 times
# two letters, in newer versions each with a NUL.
_LETTERS = "mnemonics"
_BITS = 64

#: Runs of entries that are printed for a mapping; a split huge page can have 262144.
MAX_RUNS = 64

# drgn raises FaultError, LookupError, a plain Exception, and Python errors on damaged structures.
_UNREADABLE = (Exception,)


def main(argv: list[str]) -> int:
    """Print the report; return 0, or 3 where the dump cannot be opened."""
    vmcore, vmlinux, release, guest, levels = argv
    wanted = arch(guest)
    needs, saved = wanted.drgn, Path(vmcore).with_name("registers.txt")
    try:
        info = vmcoreinfo(symbolize.load(vmlinux), release, wanted, int(levels))
        prog = opened(vmcore, needs, info)
        prog.load_debug_info([vmlinux])
    except Exception as error:  # noqa: BLE001 - drgn raises it plain for what libkdumpfile says
        _say(f"drgn cannot open {vmcore}: {error}")
        return 3
    try:
        prog.type("struct task_struct")
    except LookupError:
        _say(f"{vmlinux} has no debug information, so there are no types")
        return 3
    text = saved.read_text() if saved.exists() else ""
    running = functools.partial(saved_registers, prog, needs, text)
    for title, part in (
        ("the task that panicked", functools.partial(panicked, running=running)),
        ("all tasks", functools.partial(tasks, running=running)),
        ("mutexes and rwsems that tasks wait for", lock_owners.lines),
        ("pools of huge pages", pools),
        ("hugetlb mappings", functools.partial(mappings, guest=guest, levels=int(levels))),
    ):
        _section(title, part, prog)
    return 0


def opened(vmcore: str, needs: Drgn, info: str) -> drgn.Program:
    """Return a program that has a memory dump, without symbols."""
    platform = drgn.Platform(drgn.Architecture[needs.name])
    prog = drgn.Program(platform, vmcoreinfo=info)
    if needs.block == pagetable.PAGE:
        prog.set_core_dump(vmcore)
        return prog
    # libkdumpfile takes the blocks of a dump for pages, in page tables too: it reads physical
    # memory, and drgn walks the tables.
    blocks = re.sub(r"PAGESIZE=\d+", f"PAGESIZE={needs.block}", info)
    dump = drgn.Program(platform, vmcoreinfo=blocks)
    dump.set_core_dump(vmcore)
    prog.set_linux_kernel_custom(info, is_live=False)
    prog.add_memory_segment(0, _PHYSICAL, lambda at, size, *_: dump.read(at, size, True), True)
    return prog


def saved_registers(prog: Any, needs: Drgn, text: str, cpu: int) -> Any:
    """Return the ``struct pt_regs`` of a vCPU, from what ``info registers -a`` showed.

    Raises:
        LookupError: if that does not have them.
    """
    mine = re.search(rf"^CPU#{cpu}\s*$(.*?)(?=^CPU#|\Z)", text, re.MULTILINE | re.DOTALL)
    shown = dict(re.findall(r"\b(\w+)=([0-9a-f]+)\b", mine[1])) if mine else {}
    if not needs.pt_regs or not shown.keys() >= set(needs.pt_regs):
        raise LookupError(f"registers of CPU {cpu} were not saved")
    values = b"".join(int(shown[name], 16).to_bytes(8, "little") for name in needs.pt_regs)
    kind = prog.type("struct pt_regs")
    return drgn.Object.from_bytes_(prog, kind, values.ljust(kind.size, b"\0"))


def vmcoreinfo(symbols: drgn.Program, release: str, guest: Arch, levels: int) -> str:
    """Return the vmcoreinfo of a kernel that is not relocated; the dump need not hold one.

    Args:
        symbols: has the vmlinux.
        release: ``uname -r``.
        guest: its architecture.
        levels: of its page tables.
    """
    needs = guest.drgn
    offset = symbols.symbol("_text").address - needs.loaded_at
    lines = [
        f"OSRELEASE={release}",
        f"PAGESIZE={guest.page_tables.base_page(levels)}",
        f"SYMBOL(swapper_pg_dir)={symbols.symbol(needs.top_table).address:x}",
        f"SYMBOL(mem_section)={symbols.symbol('mem_section').address:x}",
        *(f"NUMBER({name})={value}" for name, value in needs.numbers_by_levels[levels].items()),
        f"NUMBER(kimage_voffset)={offset:#x}",
        "KERNELOFFSET=0",
    ]
    return "".join(f"{line}\n" for line in lines)


def panicked(prog: Any, running: Callable[[int], Any]) -> Iterator[str]:
    """Yield the task that panicked, with its stack.

    Args:
        prog: has the dump.
        running: returns the registers of a CPU, where the dump has none.
    """
    try:
        crashed = prog.crashed_thread()
    except LookupError as error:  # such as "panic_cpu is not set"
        yield f"none: {error}"
        return
    yield _task(crashed.object)
    yield from _stack(prog, crashed.object, running)


def tasks(prog: Any, running: Callable[[int], Any]) -> Iterator[str]:
    """Yield every task with its stack; see `panicked`."""
    for task in for_each_task(prog):
        yield _task(task)
        yield from _stack(prog, task, running)


def pools(prog: Any) -> Iterator[str]:
    """Yield the pool of each size, in all and per node."""
    for hstate in for_each_hstate(prog):
        size = huge_page_size(hstate).value_()
        yield (
            f"{size >> 10} KiB: total {_number(hstate.nr_huge_pages)}, "
            f"free {_number(hstate.free_huge_pages)}, reserved {_number(hstate.resv_huge_pages)}, "
            f"surplus {_number(hstate.surplus_huge_pages)}"
        )
        for node, count in enumerate(hstate.nr_huge_pages_node):
            if count.value_():
                free = _number(hstate.free_huge_pages_node[node])
                yield f"  node {node}: total {count.value_()}, free {free}"


def mappings(prog: Any, guest: str, levels: int) -> Iterator[str]:
    """Yield the hugetlb mappings of each process that has any."""
    processes = {task.mm.value_(): task for task in for_each_task(prog) if task.mm}
    letters = _flag_letters(prog)
    for task in processes.values():
        found = (vma for vma in for_each_vma(task.mm) if vma.vm_flags.value_() & _HUGETLB)
        for number, vma in enumerate(found):
            if number == 0:
                yield _task(task)
            top = pagetable.Top(pagetable.decoder(guest), _physical(vma.vm_mm.pgd), levels)
            yield from _mapping(prog, vma, top, letters)


def _mapping(prog: Any, vma: Any, top: pagetable.Top, letters: bytes) -> Iterator[str]:
    start, end, flags = (_number(getattr(vma, f"vm_{name}")) for name in ("start", "end", "flags"))
    uffd = ", userfaultfd" if vma.vm_userfaultfd_ctx.ctx else ""
    yield f"  {start:#x}-{end:#x} {_path(vma)}"
    yield f"    flags {flags:#x}: {' '.join(flag_names(flags, letters))}{uffd}"
    read: pagetable.ReadPage = lambda address: prog.read(address, pagetable.PAGE, True)  # noqa: E731
    walk = pagetable.walk(read, top, start, end)
    for level in pagetable.count(walk.runs):
        yield (
            f"    {level.level}: {level.present} present, {level.writable} writable, "
            f"{level.dirty} dirty, {level.uffd_wp} uffd-wp, {level.markers} markers, "
            f"{level.swap} swap"
        )
    if not walk.runs:
        yield "    nothing is mapped"
    for run in walk.runs[:MAX_RUNS]:
        yield f"    {run.address:#x} {run.level} x{run.entries} {run.raw:#018x}"
    if len(walk.runs) > MAX_RUNS:
        yield f"    ... and {len(walk.runs) - MAX_RUNS} more runs of entries"


def flag_names(flags: int, letters: bytes) -> list[str]:
    """Return smaps' names of the bits set in vm_flags; numbers for those without a name.

    Args:
        flags: vm_flags.
        letters: the kernel's own table of names; empty where it is not known.
    """
    width = len(letters) // _BITS
    bits = [bit for bit in range(_BITS) if flags >> bit & 1]
    named = {bit: letters[bit * width :][:2].decode(errors="replace") for bit in bits}
    return [named[bit] if named[bit].isalpha() else f"bit {bit}" for bit in bits]


def _flag_letters(prog: Any) -> bytes:
    """Return the table for `flag_names`; the bits of vm_flags differ between versions."""
    for symbol in prog.symbols():
        # A static variable in a function: the compiler appends a number to its name.
        if symbol.name.partition(".")[0] == _LETTERS and symbol.size in (2 * _BITS, 3 * _BITS):
            return bytes(prog.read(symbol.address, symbol.size))
    return b""


def _physical(pointer: Any) -> int:
    return int(virt_to_phys(pointer).value_())


def _path(vma: Any) -> str:
    with contextlib.suppress(*_UNREADABLE):
        return str(d_path(vma.vm_file.f_path).decode(errors="replace"))
    return "(file name cannot be read)"


def _task(task: Any) -> str:
    try:
        state, cpu = task_state_to_char(task), int(task_cpu(task))
        return f"{lock_owners.named(task)} state {state} CPU {cpu}"
    except _UNREADABLE as error:
        return f"a task that cannot be read: {error}"


def _stack(prog: Any, task: Any, running: Callable[[int], Any]) -> Iterator[str]:
    try:
        try:
            frames = list(prog.stack_trace(task))
        except LookupError:  # it runs, and the dump has no registers
            frames = list(prog.stack_trace(running(int(task_cpu(task)))))
    except _UNREADABLE as error:
        yield f"  stack cannot be read: {error}"
        return
    for frame in frames:
        where = ""
        with contextlib.suppress(*_UNREADABLE):
            file, line, _ = frame.source()
            where = f" at {below_tree(file)}:{line}"
        name = frame.name or "?"
        if not frame.is_inline:
            with contextlib.suppress(*_UNREADABLE):
                name = f"{frame.name}+{frame.pc - frame.symbol().address:#x}"
        yield f"  {name}{where}"


def _number(value: Any) -> int:
    return int(value.value_())


def _section(title: str, part: Callable[[Any], Iterator[str]], prog: Any) -> None:
    _say(f"==== {title}")
    try:
        for line in part(prog):
            _say(line)
    except _UNREADABLE as error:
        _say(f"the rest cannot be read: {type(error).__name__}: {error}")
    _say("")


def _say(line: str) -> None:
    sys.stdout.write(line.encode("ascii", errors="backslashreplace").decode() + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
