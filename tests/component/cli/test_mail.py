# SPDX-License-Identifier: GPL-2.0-only
"""`hgm compare --mail`, and what `hgm bisect --mail` writes."""

from __future__ import annotations

import mailbox
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from harness.cli.bisect import bisect
from harness.cli.mail import sender_of
from harness.cli.matrix import matrix
from harness.records.base import to_json
from harness.records.campaign import Bisection, MatrixResult, NewBisection
from harness.records.probe import ProbeResult
from tests.component.cli.test_cli import hgm
from tests.component.cli.test_export import keep
from tests.unit.report import test_mail as mails

FROM = ("--from", "A. Tester <tester@example.org>")


def pair(tmp_path: Path) -> tuple[str, str]:
    """Write two runs of which the second has two regressions."""

    def bare(probe: ProbeResult) -> ProbeResult:
        return msgspec.structs.replace(probe, directory="")

    runs = []
    for name, record in (("one", mails.BASE), ("two", mails.PATCHED)):
        probes = tuple(map(bare, record.probes))
        runs.append(str(keep(tmp_path / name, mails.with_probes(record, *probes))))
    return runs[0], runs[1]


def test_a_mail_for_each_regression(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    done = hgm(tmp_path, "compare", *runs, "--mail", *FROM)
    assert (done.returncode, done.stderr) == (1, "")
    (tmp_path / "box").write_text(done.stdout)
    found = list(mailbox.mbox(tmp_path / "box"))
    assert [each["In-Reply-To"] for each in found] == ["<cover@example.org>"] * 2
    assert [each["From"] for each in found] == ['"A. Tester" <tester@example.org>'] * 2
    done = hgm(tmp_path, "compare", *runs, "--mail-dir", str(tmp_path / "mails"), *FROM)
    files = sorted((tmp_path / "mails").iterdir())
    assert done.stdout.split() == list(map(str, files))
    assert [file.name[:10] for file in files] == ["0001-Re-PA", "0002-Re-PA"]
    assert b"hgm/hole/1G ends in FAIL" in files[1].read_bytes()
    date = b"\nDate: Thu, 01 Jan 2026 00:00:00 +0000"
    earlier = re.sub(rb"\nDate: .*", date, files[0].read_bytes(), count=1)
    for file in files:
        file.write_bytes(earlier)
    done = hgm(tmp_path, "compare", *runs, "--mail-dir", str(tmp_path / "mails"), *FROM)
    assert done.stdout.split() == [str(files[1])]
    assert files[0].read_bytes() == earlier
    assert b"ends in FAIL" in files[1].read_bytes()


def test_without_a_sender_nothing_is_written(tmp_path: Path) -> None:
    nobody = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    done = hgm(tmp_path, "compare", "one", "two", "--mail-dir", "mails", env=nobody)
    assert (done.returncode, done.stdout) == (2, "")
    assert "git does not know who you are; write --from" in done.stderr
    assert not (tmp_path / "mails").exists()
    done = hgm(tmp_path, "compare", "one", "two", "--mail", "--from", "somebody")
    assert done.returncode == 2
    assert "'somebody' is not NAME <ADDRESS>" in done.stderr
    with pytest.raises(click.UsageError, match="not both"):
        sender_of("", wanted=True, as_json=True)


@pytest.mark.parametrize(("result", "count"), [("found", 1), ("several", 1), ("never", 0)])
def test_the_mail_of_a_bisection(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    result: str,
    count: int,
) -> None:
    record = msgspec.structs.replace(mails.PATCHED, run_dir=str(tmp_path / "2"))
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "result.json").write_bytes(to_json(record))
    data = msgspec.to_builtins(mails.FOUND) | {"result": result}
    data["evaluations"][0]["run_dir"] = str(tmp_path / "2")
    if not count:
        data["evidence"] = "hgm/fork/1G: PASS"
    found = msgspec.convert(data, Bisection)
    monkeypatch.setattr("harness.cli.bisect._find", lambda *_args, **_options: found)
    code = bisect.main(["--mail", *FROM], standalone_mode=False)
    assert code == found.exit_code
    out, error = capfdbinary.readouterr()
    assert out.count(b"\nSubject: ") == count
    assert error.strip().split(b"\n")[-1].startswith((b"FOUND", b"ONE OF", b"NOT FOUND"))


def test_a_matrix_bisects_then_writes_the_mails_and_prunes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    run_dir = tmp_path / "2"
    record = msgspec.structs.replace(mails.PATCHED, run_dir=str(run_dir))
    run_dir.mkdir()
    (run_dir / "result.json").write_bytes(to_json(record))
    data = msgspec.to_builtins(mails.FOUND)
    data["evaluations"][0]["run_dir"] = str(run_dir)
    found = msgspec.convert(data, Bisection)

    def run_matrix(*_: object, bisect: Callable[[MatrixResult], MatrixResult], **__: object) -> Any:
        return bisect(MatrixResult(round=1, finished=False, cells=(), directory=str(tmp_path)))

    def bisect_new(_planned: object, result: MatrixResult, *_: object) -> MatrixResult:
        new = NewBisection(names="a", tests=("hgm/fork/1G",), found=found)
        return msgspec.structs.replace(result, bisections=(new,))

    monkeypatch.setattr("harness.campaign.matrix.run_matrix", run_matrix)
    monkeypatch.setattr("harness.campaign.bisect_new.bisect_new", bisect_new)
    monkeypatch.setattr("harness.cli.matrix.recent", lambda *_: None)
    monkeypatch.setattr("harness.cli.matrix._prune", lambda *_: shutil.rmtree(run_dir))
    file = tmp_path / "night.toml"
    file.write_text('kernels = ["tree:/a"]\nkeep = { days = 1 }\n[machines.m]\n[probes.p]\n')
    matrix.main([str(file), "--bisect-new", "--mail", *FROM], standalone_mode=False)
    assert capfdbinary.readouterr().out.count(b"\nSubject: Re: [PATCH v3 2/2] mm: b") == 1
    assert not run_dir.exists()


def test_the_default_sender_is_that_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text("[user]\n\tname = G. Itter\n\temail = g@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.chdir(tmp_path)
    assert str(sender_of("", wanted=True, as_json=False)) == '"G. Itter" <g@example.org>'
