# SPDX-License-Identifier: GPL-2.0-only
"""A machine with a KVM that works, on any host: QEMU's TCG emulates SVM with nested paging.

It boots Debian's kernel with the guest image's busybox, and its root is this host's, read only,
with a file system in memory on top. So everything that is here is there: this checkout, QEMU,
compilers, the cache. The machine itself runs under Debian 13's QEMU, whatever the host's is: with
the SVM of 7.2 a guest lost a CPU, or stayed in a spinlock, within three boots. It has one CPU: with
two, which QEMU emulates in a thread each, one guest in ten was reset in boot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from harness import apt, command
from harness.apt import Apt
from harness.arch import arch
from harness.context import Context
from harness.image import cpio, image
from harness.image.tree import Entry
from harness.kernel import modules

#: What the root needs, and KVM; what these depend on is loaded before them.
_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "kvm_amd")
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_X86 = arch("x86_64")
#: With a periodic tick. One that is set for each event was lost now and then, and no timer ran for
#: minutes: QEMU changes `interrupt_request` in VMRUN and in its own timers at the same time.
_TICK = "highres=off nohz=off"
_INIT = Path(__file__).with_name("kvm-machine-init")


def run(job: str, shared: Path, context: Context, *, memory: str = "12G") -> int:
    """Boot the machine, run a shell script in it, and return the script's exit code.

    Args:
        job: the script.
        shared: a directory that the machine has as ``/mnt``: there are ``output``, what the script
            printed, and ``console``.
        context: cache, deadline, progress.
        memory: as QEMU writes it.
    """
    (shared / "job").write_text(job)
    with context.workspace.unfinished("kvm-machine") as room:
        tree = _unpack(("linux-image-amd64", "qemu-system-x86"), room, context)
        (kernel,) = tree.glob("boot/vmlinuz-*")
        release = kernel.name.removeprefix("vmlinuz-")
        initrd = room / "initrd"
        initrd.write_bytes(
            Path(image.obtain(_X86, context).initramfs).read_bytes()
            + cpio.archive(_entries(modules.beside(kernel, release, _MODULES)))
        )
        argv = [*_qemu(tree), "-machine", "q35,accel=tcg", "-cpu", "max,+svm"]
        argv += ["-smp", "1", "-m", memory, "-display", "none", "-nodefaults", "-no-reboot"]
        argv += ["-kernel", str(kernel), "-initrd", str(initrd)]
        argv += ["-append", f"console=ttyS0 panic=-1 rdinit=/kvm-machine-init {_TICK}"]
        argv += ["-serial", f"file:{shared / 'console'}"]
        argv += ["-virtfs", _share("/", "host") + ",readonly=on"]
        argv += ["-virtfs", _share(str(shared), "out")]
        qemu_modules = str(tree / _LIBRARIES / "qemu")
        command.run(argv, context.deadline, env={"QEMU_MODULE_DIR": qemu_modules})
    return int((shared / "code").read_text())


def _share(path: str, tag: str) -> str:
    quoted = path.replace(",", ",,")
    return f"local,path={quoted},mount_tag={tag},security_model=none,multidevs=remap"


def _unpack(names: Sequence[str], room: Path, context: Context) -> Path:
    """Return the files of packages of the guest's suite, and of all that they depend on."""
    archive = Apt(apt.release(image.read_recipes(_X86).initramfs.suite), context)
    tree = room / "tree"
    (room / "debs").mkdir()
    for deb in archive.download(archive.resolve(names), room / "debs").values():
        command.run(["dpkg-deb", "--extract", str(deb), str(tree)], context.deadline)
    return tree


def _qemu(tree: Path) -> list[str]:
    """Return the begin of a command that runs the tree's QEMU with the tree's libraries."""
    libraries = tree / _LIBRARIES
    loader = [str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries)]
    share = [("-L", str(tree / "usr/share" / name)) for name in ("qemu", "seabios")]
    return [*loader, str(tree / "usr/bin/qemu-system-x86_64"), *chain.from_iterable(share)]


def _entries(loaded: dict[str, bytes]) -> Iterator[Entry]:
    yield Entry("kvm-machine-init", 0o100755, _INIT.read_bytes())
    yield Entry("modules", 0o040755)
    yield Entry("modules/order", 0o100644, "".join(f"{name}\n" for name in loaded).encode())
    for name, data in loaded.items():
        yield Entry(f"modules/{name}", 0o100644, data)
