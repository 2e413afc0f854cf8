# SPDX-License-Identifier: GPL-2.0-only
"""Which architecture a guest has: what ``--arch`` says, else its kernel's, else this host's."""

from __future__ import annotations

import contextlib

from harness.arch import Arch, arch, host_arch
from harness.errors import SourceError
from harness.kernel import specs


def choose(name: str, kernel: str = "") -> Arch:
    """Return the architecture of a guest.

    Args:
        name: ``--arch``'s argument; empty without.
        kernel: ``--kernel``'s argument.

    Raises:
        SpecError: if there is no such architecture.
    """
    if name:
        return arch(name)
    if kernel.startswith("image:"):
        from harness.kernel import prebuilt  # decompressors that a source does without

        with contextlib.suppress(SourceError):  # the kernel's stage reports it
            return prebuilt.arch_of(specs.parse_source(kernel))
    return host_arch()
