# SPDX-License-Identifier: GPL-2.0-only
"""Which accelerator runs the guest: KVM only where a Linux kernel was seen to start under it.

On some nested hosts ``/dev/kvm`` can be opened, creates a VM, gets through the BIOS and runs a few
hundred 64-bit instructions, but Linux never starts: one vCPU spins and nothing is printed. So the
only proof is a Linux kernel that prints its banner. A kernel that does not is tried under TCG as
well, because the kernel itself may be broken. The result is kept until the host reboots or QEMU
changes.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from harness import apt, command, host
from harness.apt import Apt
from harness.arch import Arch, arch
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import AcceleratorError, HarnessError, SpecError
from harness.image import image
from harness.progress import Progress
from harness.records.base import Record, from_json, to_json
from harness.records.machine import AccelChoice
from harness.vm import qemu, spec
from harness.workspace import Workspace, atomic_write, boot_id, digest, newest_first

#: Seconds for a kernel to print its banner; under a working KVM it takes a fraction of one.
PROOF_SECONDS = 6.0

#: The first line of every Linux kernel on a console.
BANNER = r"Linux version \d"

_FETCH_SECONDS = 60.0


class Proof(Record, frozen=True, kw_only=True):
    """What is known about KVM on this host.

    Attributes:
        works: whether a 64-bit Linux kernel was seen to start under it.
        cpu: the CPU model it started with; empty where none did.
        reason: one line.
    """

    works: bool
    cpu: str = ""
    reason: str


def choose(
    wanted: str, kernels: Iterable[Path], context: Context, *, arch_name: str
) -> AccelChoice:
    """Return the accelerator to use, proving KVM first where that is not known yet.

    Args:
        wanted: ``auto``, ``kvm`` or ``tcg``.
        kernels: kernel images to prove it with, tried in turn until one starts under either
            accelerator.
        context: cache, deadline, progress.
        arch_name: the guest's architecture.

    Raises:
        SpecError: if ``wanted`` is none of the three.
        AcceleratorError: if ``kvm`` is wanted on a host that cannot.
    """
    guest = arch(arch_name)
    tcg = AccelChoice(name="tcg", reason="asked for with --accel tcg", cpu=guest.cpu_tcg)
    if wanted == "tcg":
        return tcg
    if wanted not in ("auto", "kvm"):
        raise SpecError(f"--accel {wanted!r} is not an accelerator", hint="one of auto, kvm, tcg")
    known = _known(guest, kernels, context)
    proof = known or Proof(works=False, reason="no kernel on this host can show whether KVM works")
    if proof.works:
        return AccelChoice(name="kvm", reason=proof.reason, cpu=proof.cpu)
    if wanted == "kvm":
        raise _refusal(proof)
    return AccelChoice(name="tcg", reason=proof.reason, cpu=guest.cpu_tcg)


def refuse_broken_kvm(kernels: Iterable[Path], context: Context, *, arch_name: str) -> None:
    """Raise AcceleratorError if KVM is known not to work, or these kernels show it.

    For `--accel kvm` before a kernel is built, so that the error comes within seconds.
    """
    proof = _known(arch(arch_name), kernels, context)
    if proof is not None and not proof.works:
        raise _refusal(proof)


def _refusal(proof: Proof) -> AcceleratorError:
    return AcceleratorError(
        f"--accel kvm: {proof.reason}", hint="use --accel auto or --accel tcg on this host"
    )


def unusable(guest: Arch) -> Proof | None:
    """Return why KVM cannot be tried, or None if it can."""
    reason = host.kvm_unusable() if guest.is_hosts else f"this host's CPU is not {guest.kernel}"
    return Proof(works=False, reason=reason) if reason else None


def _known(guest: Arch, kernels: Iterable[Path], context: Context) -> Proof | None:
    """Return what is known about KVM, after a proof if needed; None if no kernel shows anything."""
    useless = unusable(guest)
    if useless is not None:
        return useless
    path = _proof_path(guest, context.workspace)
    remembered = _read_proof(path)
    if remembered is not None:
        return remembered
    for kernel in kernels:
        proof = prove(kernel, guest, context.deadline, context.progress)
        if proof is not None:
            atomic_write(path, to_json(proof))
            return proof
    return None


def remembered(workspace: Workspace, arch_name: str) -> Proof | None:
    """Return what was proven on this host since it booted, or None."""
    return _read_proof(_proof_path(arch(arch_name), workspace))


def _proof_path(guest: Arch, workspace: Workspace) -> Path:
    key = digest(boot_id(), command.identity(guest.qemu))[:24]
    return workspace.room("accel") / f"{key}.json"


def _read_proof(path: Path) -> Proof | None:
    try:
        return from_json(path.read_bytes(), Proof)
    except (OSError, msgspec.DecodeError):
        return None  # not proven yet in this boot of the host


def prove(kernel: Path, guest: Arch, deadline: Deadline, progress: Progress) -> Proof | None:
    """Return what booting a kernel shows about KVM; None if it shows nothing.

    Takes at most `PROOF_SECONDS` for KVM, and as much again for the check under TCG.
    """
    progress.note(f"proving KVM with {kernel.name}: once per host boot")
    limit = deadline.within(PROOF_SECONDS, "the proof of KVM")
    how = ""
    for cpu in guest.cpu_kvm:
        kvm = AccelChoice(name="kvm", reason="the proof", cpu=cpu)
        found = _starts(kernel, guest, kvm, limit)
        if found is True:
            reason = f"a 64-bit Linux kernel was seen to start under KVM with -cpu {cpu}"
            return Proof(works=True, cpu=cpu, reason=reason)
        how = found or how
        if limit.expired():
            how = f"a kernel printed no banner within {PROOF_SECONDS:g} s"
            break
    control = deadline.within(PROOF_SECONDS, "the check under TCG")
    tcg = AccelChoice(name="tcg", reason="the check", cpu=guest.cpu_tcg)
    if _starts(kernel, guest, tcg, control) is not True:
        return None
    reason = f"KVM does not work here: {how}; the same kernel starts under TCG"
    return Proof(works=False, reason=reason)


def _starts(kernel: Path, guest: Arch, accel: AccelChoice, limit: Deadline) -> str | bool:
    """Return True if a kernel prints its banner, else the error in a few words."""
    machine = spec.machine((), memory=2**30, cpus=1, arch_name=guest.name)
    with tempfile.TemporaryDirectory(prefix="hgm-proof-") as name:
        try:
            files = qemu.BootFiles(str(kernel))
            with qemu.started(machine, accel, files, Path(name), limit) as running:
                running.resume(limit)
                running.console.expect(BANNER, limit)
        except HarnessError as error:
            return error.message
    return True


def proof_kernels(first: Path | None, guest: Arch, context: Context) -> Iterator[Path]:
    """Yield kernels to prove KVM with: the one at hand, finished ones, the host's, Debian's."""
    if first is not None:
        yield first
    finished = context.workspace.room("kernels").glob(f"*/{guest.image}")
    yield from newest_first(finished)[:3]
    yield from other_kernels(guest, context)


def other_kernels(guest: Arch, context: Context) -> Iterator[Path]:
    """Yield kernels that were not built here: the host's own, and Debian's."""
    hosts = sorted(Path("/boot").glob("vmlinuz-*")) if guest.is_hosts else []
    yield from (path for path in hosts if os.access(path, os.R_OK))
    yield from _debian_kernel(guest, context)


def _debian_kernel(guest: Arch, context: Context) -> Iterator[Path]:
    """Yield Debian's own small kernel, fetched once as a package and not installed.

    For a host that has not built a kernel yet. Where it cannot be fetched, nothing is yielded.
    """
    home = context.workspace.room("accel")
    found = sorted(home.glob(f"vmlinuz-*-{guest.debian}"))
    if found:
        yield found[-1]
        return
    limit = context.deadline.within(_FETCH_SECONDS, "the fetch of Debian's kernel")
    try:
        with context.workspace.unfinished("kernel") as scratch:
            suites = apt.release(image.read_recipes(guest).initramfs.suite)
            archive = Apt(suites, dataclasses.replace(context, deadline=limit), guest.debian)
            closure = archive.resolve([f"linux-image-cloud-{guest.debian}"])
            package = re.compile(rf"linux-image-\d.*-cloud-{guest.debian}")
            wanted = [each for each in closure if package.fullmatch(each.name)]
            for name in ("tree", "debs"):
                (scratch / name).mkdir()
            debs = archive.download(wanted, scratch / "debs")
            for name, deb in debs.items():
                extract = ["dpkg-deb", "--extract", str(deb), str(scratch / "tree")]
                command.run(extract, limit)
                kernel = scratch / "tree" / "boot" / name.replace("linux-image", "vmlinuz", 1)
                kernel.replace(home / kernel.name)
                yield home / kernel.name
    except (HarnessError, OSError) as error:
        context.progress.note(f"cannot fetch Debian's kernel to prove KVM with: {error}")
