# SPDX-License-Identifier: GPL-2.0-only
"""The features of the running kernel, from the output of the guest's program ``features``."""

from __future__ import annotations

import re

from harness.records.run import HgmSupport


def hgm_support(answers: str) -> HgmSupport:
    """Return whether a kernel has HGM from what the features program printed.

    It is there if MADV_SPLIT is accepted for at least one huge-page size that the guest has.
    """
    found = re.findall(r"^madv_split\.(\w+)=(\S+)$", answers, re.MULTILINE)
    if not found:
        return HgmSupport()
    accepted = [size for size, answer in found if answer == "ok"]
    if accepted:
        return HgmSupport(present=True, evidence=f"MADV_SPLIT: accepted on {', '.join(accepted)}")
    refusals = sorted({answer for _, answer in found})
    return HgmSupport(present=False, evidence=f"MADV_SPLIT: {', '.join(refusals)}")
