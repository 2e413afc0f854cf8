# SPDX-License-Identifier: GPL-2.0-only
"""The probes that `hgm b4-check` runs by itself."""

import pytest

from harness.cli import b4_check
from harness.probes import catalog

QUICK = b4_check._QUICK


@pytest.mark.parametrize("name", QUICK)
def test_each_is_a_probe_of_the_catalogue(name: str) -> None:
    assert name in {spec.name for spec in catalog.load()}


def test_the_help_says_how_many_they_are() -> None:
    (option,) = (each for each in b4_check.b4_check.params if each.name == "probes")
    assert len(QUICK) == 6
    assert "[default: six of the smallest]" in getattr(option, "help", "")
