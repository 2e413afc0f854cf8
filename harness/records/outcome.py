# SPDX-License-Identifier: GPL-2.0-only
"""How far a run came, and what stopped it: what bisect, compare and try decide by."""

from __future__ import annotations

import enum


class Outcome(enum.StrEnum):
    """How far a run came, and what stopped it.

    A verdict says whether the kernel is right; an outcome says why there is one, or why not.
    """

    #: It is under way, or was killed.
    CUT = "cut"
    #: A signal stopped it: SIGINT, SIGTERM or SIGHUP.
    INTERRUPTED = "interrupted"
    #: The request cannot be fulfilled: an absent source, a probe that does not compile.
    USER_MISTAKE = "user mistake"
    #: A patch of the series is corrupt or does not apply.
    PATCH_REFUSED = "patch refused"
    #: The kernel cannot have a symbol that was asked for.
    CONFIG_REFUSED = "config refused"
    #: The kernel does not compile.
    NOT_COMPILED = "did not compile"
    #: The kernel never got as far as its first probe.
    NOT_BOOTED = "did not boot"
    #: The kernel was built, and nothing else was asked for.
    BUILT_ONLY = "built only"
    #: Every probe was run or is LOST; the verdict is the judge's.
    PROBES_RAN = "probes ran"
    #: This host, the way to the guest, or this program failed.
    INFRASTRUCTURE = "infrastructure"

    @property
    def about_the_kernel(self) -> bool:
        """Return whether a run that ended so says something about its kernel."""
        return self in _ABOUT_THE_KERNEL


_ABOUT_THE_KERNEL = frozenset(
    {
        Outcome.PROBES_RAN,
        Outcome.BUILT_ONLY,
        Outcome.NOT_COMPILED,
        Outcome.CONFIG_REFUSED,
        Outcome.NOT_BOOTED,
    }
)
