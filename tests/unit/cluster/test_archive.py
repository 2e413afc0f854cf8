# SPDX-License-Identifier: GPL-2.0-only
"""Files on their way between hosts: the same content is the same bytes, and nothing escapes."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from harness.cluster import archive
from harness.errors import InfrastructureError


def tar(*entries: tarfile.TarInfo) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as made:
        for entry in entries:
            made.addfile(entry, io.BytesIO(b"x" * entry.size))
    return whole.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def test_the_bytes_depend_on_names_and_contents_only(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "modules").mkdir(parents=True)
        (tmp_path / name / "modules" / "x.ko").write_text("x")
        (tmp_path / name / "bzImage").write_text("k")
        (tmp_path / name / "headers").mkdir()
        (tmp_path / name / "headers" / f"{name}.h").write_text(name)
    os.utime(tmp_path / "a" / "bzImage", (1, 1))
    packed = archive.packed(tmp_path / "a", {"headers"})
    assert packed == archive.packed(tmp_path / "b", {"headers"})
    (tmp_path / "b" / "bzImage").write_text("l")
    assert packed != archive.packed(tmp_path / "b", {"headers"})


def test_files_arrive_with_their_contents_and_may_be_programs(tmp_path: Path) -> None:
    (tmp_path / "from" / "deep").mkdir(parents=True)
    program = tmp_path / "from" / "deep" / "program"
    program.write_text("#!")
    program.chmod(0o755)
    (tmp_path / "from" / "result.json").write_text("{}")
    target = tmp_path / "to"
    target.mkdir()
    data = archive.packed(tmp_path / "from")
    archive.unpack(data, target, {"result.json"})
    assert (target / "deep" / "program").stat().st_mode & 0o777 == 0o755
    assert not (target / "result.json").exists()
    assert archive.member(data, "result.json") == b"{}"
    archive.unpack(archive.packed(program), target)
    assert (target / "program").read_text() == "#!"


@pytest.mark.parametrize(
    "data",
    [
        tar(entry("../escaped")),
        tar(entry("/escaped")),
        tar(entry("a/../../escaped")),
        tar(entry("link", tarfile.SYMTYPE, "/etc")),
        tar(entry("link", tarfile.LNKTYPE, "/etc/passwd")),
        tar(entry("device", tarfile.CHRTYPE)),
        b"no archive at all",
    ],
)
def test_what_does_not_belong_into_an_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(InfrastructureError):
        archive.unpack(data, target)
    assert list(tmp_path.rglob("*")) == [target]
