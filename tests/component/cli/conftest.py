# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.component.debian_archive import DebianArchive


@pytest.fixture(scope="package", autouse=True)
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let no command fetch anything: Debian is an archive with one empty package."""
    archive = DebianArchive(tmp_path_factory.mktemp("debian"))
    archive.add("trixie", "linux-source-6.12", "6.12.7-1")
    archive.publish_all()
    with pytest.MonkeyPatch.context() as monkeypatch:
        archive.use(monkeypatch)
        yield
