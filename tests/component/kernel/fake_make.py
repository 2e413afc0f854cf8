#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Stands in for make in component tests: copies what it is given, and fails as it is told.

FAKE_MAKE says how: ``ok``, ``compile-error``, ``disk-full``, ``killed-compiler``,
``changed-config`` or ``hang`` (which leaves a half-written object). FAKE_MAKE_LOG takes a line for
each call.
FAKE_MAKE_REFUSES names symbols that no configuration gets.
"""

import os
import re
import signal
import sys
from pathlib import Path


def main() -> int:
    settings = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    source = Path(sys.argv[sys.argv.index("-C") + 1])
    build = Path(settings["O"])
    with Path(os.environ["FAKE_MAKE_LOG"]).open("a") as log:
        log.write(" ".join(word for word in sys.argv[1:] if "=" not in word) + "\n")
    if "allnoconfig" in sys.argv:
        return configure(build, Path(settings["KCONFIG_ALLCONFIG"]))
    mode = os.environ.get("FAKE_MAKE", "ok")
    if mode == "changed-config":
        (build / ".config").write_text("CONFIG_OTHER=y\n")
        mode = "ok"
    if mode == "ok":
        install(Path(settings["INSTALL_HDR_PATH"]))
        return 0 if "bzImage" not in sys.argv else make(source, build)
    if mode == "hang":
        (build / "half.o").write_text("half")
        say("  CC      half.o")
        signal.pause()
    elif mode == "disk-full":
        say("fatal error: error writing to x.s: No space left on device")
    elif mode == "killed-compiler":
        say("gcc: fatal error: Killed signal terminated program cc1")
    else:
        say(f"{source}/mm/hugetlb.c:812:9: error: 'foo' undeclared")
    say("make: *** [Makefile:1: mm/hugetlb.o] Error 1")
    return 2


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def configure(build: Path, asked: Path) -> int:
    refused = os.environ.get("FAKE_MAKE_REFUSES", "").split()
    lines = asked.read_text().splitlines()
    kept = [line for line in lines if not any(re.search(rf"_{name}\b", line) for name in refused)]
    (build / ".config").write_text("\n".join(kept) + "\n")
    return 0


def install(headers: Path) -> None:
    (headers / "include/linux").mkdir(parents=True, exist_ok=True)
    (headers / "include/linux/mman.h").write_text("/* uapi */\n")


def make(source: Path, build: Path) -> int:
    say("  CC      mm/hugetlb.o")
    say("  LD      vmlinux")
    everything = (source / "mm" / "hugetlb.c").read_text()
    for name in ("arch/x86/boot/bzImage", "vmlinux", "System.map"):
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_text(everything)
    (build / "include/config").mkdir(parents=True, exist_ok=True)
    (build / "include/config/kernel.release").write_text("6.12.7\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
