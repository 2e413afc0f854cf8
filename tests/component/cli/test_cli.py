# SPDX-License-Identifier: GPL-2.0-only
"""What people meet first: the command line, and its one line for each mistake. No kernel here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import host
from harness.selfcheck import tests as selftest


def hgm(
    tmp_path: Path, *words: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "HGM_CACHE": str(tmp_path / "cache"), **(env or {})},
    )


MISTAKES = [
    (("run", "--kernel", "6.12"), "debian:"),
    (("run", "--kernel", "tree:/nowhere"), "/nowhere"),
    (("run", "--kernel", "image:/nowhere"), "/nowhere"),
    (("run", "--kernel", "tar:/nowhere.tar.xz"), "/nowhere"),
    (("run", "--kernel", "git:/nowhere@v6.12"), "/nowhere"),
    (("run", "--series", "dir:/nowhere"), "/nowhere"),
    (("run", "--series", "what"), "what"),
    (("run", "--config", "nonesuch"), "nonesuch"),
    (("run", "--hugepages", "4K:1"), "4K:1"),
    (("run", "--memory", "lots"), "lots"),
    (("run", "--memory", "1G"), "is not enough for"),
    (("run", "--nodes", "9"), "9 NUMA nodes"),
    (("run", "--probe", "hgm/contineu-4k/1G"), "hgm/continue-4k/1G"),
    (("run", "--kselftest", "nn"), "no collection 'nn'"),
    (("run", "--kselftest", "mm", "--kernel", "image:/boot/vmlinuz"), "does not have"),
    (("run", "--accel", "xen"), "--accel"),
    (("run", "--timeout", "0"), "--timeout"),
    (("run", "--nonsense"), "--nonsense"),
    (("run", "--series", "lore:nobody"), "is not a Message-ID"),
    (("run", "--series", "mbox:/x", "--mail-from", "/y"), "--mail-from"),
    (("run", "--series", "none", "--resolve", "/x"), "--resolve"),
    (("series", "check", "--series", "none"), "a series check needs a source and a series"),
    (("run", "--series", "none", "--touched", "mbox:/x", "--mail-from", "/y"), "--mail-from"),
    (("bisect", "--about", "build", "--confidence", "0.95"), "--confidence"),
    (("bisect", "--about", "splat", "--signature", "("), "--signature: '(' is not a regular"),
    (("selfcheck", "bench", "bisect"), "--probe"),
    (("selfcheck", "bench", "bisect", "--probe", "hgm/contineu-4k/1G"), "hgm/contineu-4k/1G"),
    (("compare", "nowhere", "elsewhere"), "nowhere"),
    (("judge", "nowhere"), "nowhere"),
    (("matrix", "/nowhere.toml"), "/nowhere.toml"),
    (("history", "--import", "/nowhere"), "/nowhere"),
    (("status", "--days", "1000000"), "--days"),
    (("status", "--runs-dir", "/nowhere"), "there is no history /nowhere/history.db"),
    (("run", "--touched", "nonsense:"), "series 'nonsense:' has no known form"),
    (
        ("run", "--series", "lore:a@b", "--mail-from", "/box", "--touched", "mbox:/nowhere"),
        "/nowhere: No such file",
    ),
    (("history", "no/such"), "there is no history"),
    (("history", "--store", "mysql://x/y"), "mysql://x/y"),
    (("status", "--days", "0"), "--days"),
    (("test", "everything"), "everything"),
    (("test", "-k", "kvm"), "-k needs an environment"),
    (("test", "types", "-k", "kvm"), "-k needs an environment"),
    (("nonsense",), "nonsense"),
]


@pytest.mark.parametrize(("words", "named"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_a_mistake_ends_in_one_line_with_exit_code_2(
    tmp_path: Path, words: tuple[str, ...], named: str
) -> None:
    done = hgm(tmp_path, *words)
    last = (done.stderr or done.stdout).strip().splitlines()[-1]
    everything = done.stdout + done.stderr
    assert done.returncode == 2, everything
    assert named in everything
    assert "Traceback" not in everything
    assert len(last) < 400


POOL = "--probe=baseline/pool/2M"
SMALL = ("--hugepages", "1G:3", "--memory", "4G")
SOURCES = [(words[1], words[2]) for words, _ in MISTAKES if words[0] == "run" and len(words) == 3]


@pytest.mark.parametrize(
    "words",
    [
        *(("run", *source) for source in SOURCES),
        ("run", POOL, *SMALL),
        ("run", "--kernel", "debian:linux-source-of-nobody"),
        ("run", "--against", "dir:/nowhere"),
        ("run", "--against", "none", POOL, *SMALL),
        ("series", "try", "--series", "dir:/nowhere"),
        ("series", "try", "--series", "hgm-6.12", "--probe", "nonesuch"),
        ("series", "try", "--series", "hgm-6.12", POOL, *SMALL),
        ("series", "try", "--series", "hgm-6.12", "--config", "nonesuch"),
        ("bisect", "--series", "hgm-6.12", POOL, "--kernel", "tree:/nowhere"),
        ("bisect", "--series", "hgm-6.12", POOL, *SMALL),
        ("bisect-step", "--kernel", "tree:/nowhere", POOL),
        ("selfcheck", "detect", "--kernel", "tree:/nowhere"),
    ],
    ids=" ".join,
)
def test_a_mistake_that_can_be_known_makes_no_run_directory(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = hgm(tmp_path, *words)
    assert done.returncode == 2, done.stderr
    assert not (tmp_path / "runs").exists()


def test_touched_finds_its_mail_where_mail_from_says(tmp_path: Path) -> None:
    """The series of --series need not be mail itself."""
    (tmp_path / "box").write_text(
        "From git@z Thu Jan  1 00:00:00 1970\nFrom: A <a@example.org>\n"
        "Message-ID: <one@example.org>\nSubject: [PATCH] mm: x\n\n---\n"
        "diff --git a/mm/mremap.c b/mm/mremap.c\n"
        "--- a/mm/mremap.c\n+++ b/mm/mremap.c\n@@ -1 +1 @@\n-a\n+b\n"
    )
    globs = [f"--probe={name}" for name in ("baseline/pool", "baseline/mremap")]
    words = ("--touched=lore:one@example.org", f"--mail-from={tmp_path}/box")
    done = hgm(tmp_path, "run", "--series=none", *words, *globs)
    record = json.loads((tmp_path / "runs" / "latest" / "result.json").read_text())
    assert record["left_out"] == ["baseline/pool"], done.stderr


def test_what_touched_leaves_out_is_in_the_record(tmp_path: Path) -> None:
    (tmp_path / "a.patch").write_text(
        "From: A <a@example.org>\nSubject: [PATCH] mm: x\n\n---\n"
        "--- a/mm/mremap.c\n+++ b/mm/mremap.c\n@@ -1 +1 @@\n-a\n+b\n"
    )
    globs = [f"--probe={name}" for name in ("baseline/pool", "baseline/mremap")]
    done = hgm(tmp_path, "run", "--series=none", f"--touched=dir:{tmp_path}", *globs)
    assert "are left out, which do not look at mm/mremap.c; left_out in result.json" in done.stdout
    record = json.loads((tmp_path / "runs" / "latest" / "result.json").read_text())
    assert record["left_out"] == ["baseline/pool"]
    assert {probe["name"].rpartition("/")[0] for probe in record["probes"]} == {"baseline/mremap"}


def test_faults_that_share_a_kernel_are_listed_together(tmp_path: Path) -> None:
    faults = ("exact-address-rounded", "one-poisoned-page-remembered", "errno-of-continue-twice")
    listed = hgm(tmp_path, "selfcheck", "detect", "--list", *faults)
    lines = [line.split()[0] for line in listed.stdout.splitlines()]
    assert lines == ["kernel", *faults[:2], "kernel", faults[2], "3"], listed.stderr
    alone = hgm(tmp_path, "selfcheck", "detect", "--list", "--alone", *faults)
    assert "3 faults in 3 classes, 3 kernels" in alone.stdout


def test_a_probe_that_the_machine_cannot_run_is_named_with_the_option_that_is_missing(
    tmp_path: Path,
) -> None:
    done = hgm(tmp_path, "run", POOL, *SMALL)
    assert "no probe can be run: baseline/pool/2M" in done.stderr
    assert "--hugepages 2M:" in done.stderr


@pytest.mark.parametrize("where", ["/proc/nope", "/dev/null", "/dev/null/runs"])
def test_a_place_for_run_directories_that_cannot_be_is_a_mistake(
    tmp_path: Path, where: str
) -> None:
    tree, patches = tree_and_series(tmp_path, "a")
    source = ("--kernel", f"tree:{tree}", "--series", f"dir:{patches}", "--runs-dir", where)
    for words in (("run", *source), ("series", "try", *source), ("bisect", POOL, *source)):
        done = hgm(tmp_path, *words)
        assert done.returncode == 2, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if "runs-dir" in line]
        assert where in line


DIFF = "--- a/Kconfig\n+++ b/Kconfig\n@@ -1 +1 @@\n-{}\n+b\n"


def tree_and_series(tmp_path: Path, line: str) -> tuple[Path, Path]:
    """Make a source whose Kconfig is ``a``, and a patch that expects another line there."""
    tree, patches = tmp_path / "linux", tmp_path / "patches"
    tree.mkdir()
    (tree / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\n")
    (tree / "Kconfig").write_text("a\n")
    patches.mkdir()
    (patches / "0000-cover-letter.patch").write_text("Subject: [PATCH 0/1] x\n\nwords\n")
    (patches / "0001-x.patch").write_text(DIFF.format(line))
    return tree, patches


def test_json_on_standard_output_is_the_record_and_nothing_else(tmp_path: Path) -> None:
    tree, patches = tree_and_series(tmp_path, "other")
    words = ("run", "--kernel", f"tree:{tree}", "--series", f"dir:{patches}", "--json")
    done = hgm(tmp_path, *words)
    record = json.loads(done.stdout)
    assert (record["verdict"], record["exit_code"]) == ("ERROR", 2), done.stderr
    assert record["outcome"] == "patch refused"
    assert "0001-x.patch" in record["reason"]
    assert record["reason"] in done.stderr


def test_the_probes_are_listed(tmp_path: Path) -> None:
    listed = hgm(tmp_path, "probes", "list", "--json")
    names = [probe["name"] for probe in json.loads(listed.stdout)]
    assert {"baseline/memfd-alias/1G", "hgm/continue-4k/2M"} <= set(names)
    few = hgm(tmp_path, "probes", "list", "hgm/split*")
    assert few.returncode == 0
    assert "baseline" not in few.stdout


def test_a_command_imports_only_what_it_needs() -> None:
    words = ["probes", "list"]
    program = f"from harness.cli.main import hgm; hgm.main({words}, standalone_mode=False)"
    program += "; import sys; print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    modules = said.stdout.splitlines()[-1].split()
    assert "harness.probes.catalog" in modules
    unwanted = {
        "filelock",
        "paramiko",
        "sqlalchemy",
        "platformdirs",
        "rich",
        "subprocess",
        "harness.cli.run",
    }
    assert not unwanted & set(modules)


@pytest.mark.parametrize("words", [(), ("series",)])
def test_a_command_left_out_is_a_mistake_that_help_answers(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = hgm(tmp_path, *words)
    assert done.returncode == 2
    assert done.stderr.startswith(" ".join(("Usage: hgm", *words, "[OPTIONS] COMMAND")))


def test_no_cache_is_touched_for_help(tmp_path: Path) -> None:
    assert hgm(tmp_path, "--help").returncode == 0
    assert hgm(tmp_path, "run", "--help").returncode == 0
    assert list(tmp_path.iterdir()) == []


def only_apt(home: Path) -> Path:
    """Return a directory for PATH with the two programs that tell a Debian host, which fail."""
    (home / "bin").mkdir()
    for name in ("apt-get", "dpkg-deb"):
        (home / "bin" / name).write_text("#!/bin/sh\nexit 1\n")
        (home / "bin" / name).chmod(0o755)
    return home / "bin"


def test_the_doctor_names_what_is_missing_and_the_line_that_installs_it(tmp_path: Path) -> None:
    done = hgm(tmp_path, "doctor", env={"PATH": str(only_apt(tmp_path))})
    assert done.returncode == 3
    assert "qemu-system-x86 (boots guests)" in done.stdout
    assert "apt-get install -y --no-install-recommends gcc" in done.stdout
    assert "Traceback" not in done.stderr


def test_without_tools_a_run_is_an_infrastructure_error_that_names_them(tmp_path: Path) -> None:
    path = str(only_apt(tmp_path))
    done = hgm(tmp_path, "run", "--accel", "tcg", env={"PATH": path})
    assert done.returncode == 3
    assert "gcc" in done.stdout + done.stderr
    assert "apt-get install" in done.stdout + done.stderr


def test_every_host_package_has_its_proof_and_its_purpose() -> None:
    names = [package.name for package in host.packages()]
    assert len(names) == len(set(names)) > 10
    assert all(package.shown_by and package.purpose for package in host.packages())


REPORT = '<testsuites><testsuite tests="{tests}" skipped="{skipped}"/></testsuites>'


@pytest.mark.parametrize(
    ("tests", "skipped", "fault"), [(5, 0, ""), (0, 0, "none ran"), (5, 1, "1 of 5 were skipped")]
)
def test_kernel_tests_that_did_not_run_do_not_count(
    tmp_path: Path, tests: int, skipped: int, fault: str
) -> None:
    report = tmp_path / "junit.xml"
    assert "was not written" in selftest.kernel_fault(report)
    report.write_text(REPORT.format(tests=tests, skipped=skipped))
    assert selftest.kernel_fault(report) == fault


def test_series_check_prints_a_table_or_json_and_ends_with_2(tmp_path: Path) -> None:
    tree, patches = tree_and_series(tmp_path, "other")
    words = ("series", "check", "--kernel", f"tree:{tree}", "--series", f"dir:{patches}")
    done = hgm(tmp_path, *words)
    assert done.returncode == 2
    assert "CONFLICT" in done.stdout
    assert "-other" in done.stdout
    assert "+a" in done.stdout
    done = hgm(tmp_path, *words, "--json")
    assert done.returncode == 2
    checked = json.loads(done.stdout)
    assert [patch["end"] for patch in checked["patches"]] == ["conflict"]
    assert "CONFLICT" in done.stderr
    (patches / "0001-x.patch").write_text(DIFF.format("a"))
    done = hgm(tmp_path, *words)
    assert done.returncode == 0
    assert "all apply: 1 exact" in done.stdout
