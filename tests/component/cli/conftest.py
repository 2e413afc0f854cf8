# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.component.debian_archive import empty_debian


@pytest.fixture(scope="package", autouse=True)
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let no command fetch anything."""
    with empty_debian(tmp_path_factory.mktemp("debian")):
        yield
