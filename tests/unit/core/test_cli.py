# SPDX-License-Identifier: GPL-2.0-only
"""The last door: what no command foresaw has its exit code and its line."""

from pathlib import Path

import pytest

from harness.cli import main


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "hgm: interrupted"),
        # click takes the end of a file for an interrupt; it is a defect of ours.
        (EOFError(), 3, "hgm: internal error, please report it: EOFError()"),
    ],
)
def test_an_unforeseen_end(
    error: BaseException,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def load() -> None:
        raise error

    monkeypatch.setenv("HGM_CACHE", str(tmp_path))
    monkeypatch.setattr("harness.probes.catalog.load", load)
    monkeypatch.setattr("sys.argv", ["hgm", "probes", "list"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == code
    assert said in capsys.readouterr().err
