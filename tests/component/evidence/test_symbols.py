# SPDX-License-Identifier: GPL-2.0-only
"""Symbols of a small ELF file at a kernel's addresses, with two functions of one name."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.arch import arch
from harness.deadline import Deadline
from harness.errors import CommandFailed
from harness.evidence import symbolize, symbols, vmcore_report

FIRST = """\
int counter;
long init_top_pgt[512], mem_section, _text;
static inline __attribute__((always_inline)) void lock(void)
{
	counter++;
}
static __attribute__((noinline)) void helper(void)
{
	counter += 2;
}
void fault(void)
{
	helper();
	lock();
	helper();
}
"""

SECOND = """\
extern int counter;
__attribute__((noinline, optimize("O0"))) static int helper(int x)
{
	for (int i = 0; i < x; i++)
		counter += i;
	return counter;
}
int other(void)
{
	return helper(counter);
}
"""

LINK = ("-Wl,-Ttext=0xffffffff81000000,--build-id=none,-e,fault", "-static", "-nostdlib", "-no-pie")


def build(directory: Path, *flags: str) -> Path:
    source = directory / "mm"
    source.mkdir(exist_ok=True)
    (source / "first.c").write_text(FIRST)
    (source / "second.c").write_text(SECOND)
    words = ("-O2", "-mcmodel=kernel", "-fno-pic", "-fno-asynchronous-unwind-tables", *flags, *LINK)
    argv = ["gcc", *words, "mm/first.c", "mm/second.c", "-o", "vmlinux"]
    subprocess.run(argv, cwd=directory, check=True)
    return directory / "vmlinux"


class Symbol(NamedTuple):
    """A symbol, as nm prints it."""

    address: int
    size: int


def of(vmlinux: Path, name: str) -> list[Symbol]:
    """Return the symbols of a name, the smallest first."""
    lines = subprocess.run(
        ["nm", "--print-size", vmlinux], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    words = [line.split() for line in lines]
    found = [Symbol(int(each[0], 16), int(each[1], 16)) for each in words if each[-1] == name]
    return sorted(found, key=lambda each: each.size)


def resolve(vmlinux: Path, text: str, *addresses: int) -> dict[str, tuple[str, ...]]:
    path = vmlinux.with_name("text")
    path.write_text(text)
    return symbols.resolve(path, addresses, vmlinux, Deadline.after(30.0, "the test"))


def test_functions_lines_and_what_was_inlined(tmp_path: Path) -> None:
    vmlinux = build(tmp_path, "-g")
    (fault,) = of(vmlinux, "fault")
    # The address after a call is where the trace says that it returns to; one less is in the call.
    places = [f"fault+{offset:#x}/{fault.size:#x}" for offset in range(1, fault.size)]
    found = resolve(vmlinux, "\n".join(f" {each}" for each in places))
    lines = {frames[-1] for frames in found.values()}
    assert "fault at mm/first.c:13" in lines
    inlined = [frames for frames in found.values() if len(frames) == 2]
    assert ("lock at mm/first.c:5", "fault at mm/first.c:14") in inlined


def test_of_functions_with_one_name_the_size_decides(tmp_path: Path) -> None:
    vmlinux = build(tmp_path, "-g")
    small, large = of(vmlinux, "helper")
    # kallsyms counts the padding up to the next function as well.
    small_place, large_place = (f"helper+0x1/{each.size + 6:#x}" for each in (small, large))
    found = resolve(vmlinux, f" {small_place}\n {large_place}\n")
    assert found[small_place][0].startswith("helper at mm/first.c:")
    assert found[large_place][0].startswith("helper at mm/second.c:")


def test_rip_is_the_instruction_itself(tmp_path: Path) -> None:
    vmlinux = build(tmp_path, "-g")
    (fault,) = of(vmlinux, "fault")
    prog = symbolize.load(str(vmlinux))
    lines = [prog.source_location(fault.address + at)[-1].line for at in range(fault.size)]
    changes = [at for at in range(1, fault.size) if lines[at] != lines[at - 1]]
    place = f"fault+{changes[0]:#x}/{fault.size:#x}"
    at_rip = resolve(vmlinux, f"RIP: 0010:{place}")[place][-1]
    in_trace = resolve(vmlinux, f" {place}")[place][-1]
    assert at_rip == f"fault at mm/first.c:{lines[changes[0]]}"
    assert in_trace == f"fault at mm/first.c:{lines[changes[0] - 1]}"


def test_a_trace_at_the_start_of_a_function_is_in_the_one_before_it(tmp_path: Path) -> None:
    vmlinux = build(tmp_path, "-g", "-falign-functions=1")
    prog = symbolize.load(str(vmlinux))
    (fault,) = of(vmlinux, "fault")
    before = prog.symbol(fault.address - 1)
    place = f"fault+0x0/{fault.size:#x}"
    (*_, outermost) = resolve(vmlinux, f" {place}")[place]
    assert outermost.startswith(f"{before.name}+{before.size - 1:#x}/{before.size:#x} at mm/")
    assert resolve(vmlinux, f"pc : {place}")[place][-1].startswith("fault at mm/first.c:")


def test_program_counters(tmp_path: Path) -> None:
    vmlinux = build(tmp_path, "-g")
    (other,) = of(vmlinux, "other")
    key = f"{other.address + 1:#x}"
    found = resolve(vmlinux, "", other.address + 1, 0x401000)
    assert list(found) == [key]
    assert re.fullmatch(rf"other\+0x1/{other.size:#x} at mm/second.c:\d+", found[key][-1])


def test_without_debug_information_there_are_functions(tmp_path: Path) -> None:
    vmlinux = build(tmp_path)
    (fault,) = of(vmlinux, "fault")
    place = f"fault+0x2/{fault.size:#x}"
    found = resolve(vmlinux, f" {place} counter+0x0/0x4 absent+0x1/0x2", fault.address)
    assert found == {
        place: ("fault",),
        f"{fault.address:#x}": (f"fault+0x0/{fault.size:#x}",),
    }


def test_what_is_not_an_elf_file(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_text("not an ELF file")
    with pytest.raises(CommandFailed, match="vmlinux"):
        resolve(tmp_path / "vmlinux", " f+0x1/0x2")


def test_vmcoreinfo_has_the_addresses_of_the_vmlinux(tmp_path: Path) -> None:
    vmlinux = build(tmp_path)
    (pgt,), (section,) = of(vmlinux, "init_top_pgt"), of(vmlinux, "mem_section")
    (text,) = of(vmlinux, "_text")
    guest = arch("x86_64")
    info = vmcore_report.vmcoreinfo(symbolize.load(str(vmlinux)), "6.12.1", guest, levels=5)
    assert info.splitlines() == [
        "OSRELEASE=6.12.1",
        "PAGESIZE=4096",
        f"SYMBOL(swapper_pg_dir)={pgt.address:x}",
        f"SYMBOL(mem_section)={section.address:x}",
        "NUMBER(phys_base)=0",
        "NUMBER(pgtable_l5_enabled)=1",
        f"NUMBER(kimage_voffset)={text.address - 0x1000000:#x}",
        "KERNELOFFSET=0",
    ]
