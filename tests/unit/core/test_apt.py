# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest

from harness.apt import Package, parse_uris
from harness.errors import InfrastructureError

# What apt 2.6 printed, but for the archive's address.
PRINTED = """\
'file:/a/libcrypt1_4.4.33-2_amd64.deb' libcrypt1_1%3a4.4.33-2_amd64.deb 89464 SHA256:f5f6
'file:/a/busybox-static_1.35.0-4%2bdeb12u1%2bb1_amd64.deb' busybox-static_1%3a1.35.0-4+deb12u1+b1_amd64.deb 928188 SHA256:3d3f
"""  # noqa: E501


def test_packages_are_sorted_and_their_versions_have_epochs() -> None:
    assert parse_uris(PRINTED) == (
        Package(name="busybox-static", version="1:1.35.0-4+deb12u1+b1", size=928188, sha256="3d3f"),
        Package(name="libcrypt1", version="1:4.4.33-2", size=89464, sha256="f5f6"),
    )


@pytest.mark.parametrize(
    "line", ["Reading package lists...", "'u' a_1_all.deb 3 MD5Sum:00", "'u' a_1_all.deb 3 "]
)
def test_a_line_of_unknown_form(line: str) -> None:
    with pytest.raises(InfrastructureError, match="unknown line"):
        parse_uris(line + "\n")
