# SPDX-License-Identifier: GPL-2.0-only
"""Findings as mails, compared with those in tests/data/report.

``python -m tests.unit.report.test_mail`` writes these again; look at the difference.
"""

from __future__ import annotations

import datetime
import email
import email.policy
import gzip
import hashlib
import mailbox
from email.message import EmailMessage
from pathlib import Path

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.campaign.compare import compare
from harness.judge import dmesg
from harness.kernel.series.patch import printable
from harness.records.base import to_json
from harness.records.campaign import Bisection, Candidate, Comparison, Evaluation, TracedSuspect
from harness.records.kernel import (
    ConfigIdentity,
    Kernel,
    KernelParts,
    KernelSummary,
    PatchIdentity,
    SeriesIdentity,
    SourceIdentity,
)
from harness.records.machine import AccelChoice, GuestImage, HugePages, MachineSpec
from harness.records.outcome import Outcome
from harness.records.probe import Capture, ProbeResult, Splat, Status
from harness.records.run import Ingredients, RunRecord
from harness.report import bisect_mail, compare_mail, mail
from harness.report.mail import Letter
from harness.store import rundir
from tests.unit.report import hostile

DATA = Path(__file__).parents[2] / "data"

SENDER = mail.parse_sender("A. Tester <tester@example.org>")
DATE = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)

CONFIG = b"CONFIG_HUGETLBFS=y\n# CONFIG_KASAN is not set\n"

NONE = SeriesIdentity(spec="none", tree="b" * 40)

SERIES = SeriesIdentity(
    spec="lore:cover@example.org",
    patches=(
        PatchIdentity(name="[PATCH v3 1/2] mm: a", digest="a" * 64, message_id="one@example.org"),
        PatchIdentity(name="[PATCH v3 2/2] mm: b", digest="b" * 64, message_id="two@example.org"),
    ),
    tree="c" * 40,
    message_id="cover@example.org",
    subject="[PATCH v3 0/2] mm: hugetlb: do it",
)

RUN = RunRecord(
    verdict="PASS",
    outcome=Outcome.PROBES_RAN,
    exit_code=0,
    reason="3 passed",
    harness="0.2.0",
    command=(
        *("env", "-C", "/home/me/hgm", "/home/me/hgm/hgm", "run"),
        *("--kernel", "debian:linux-source-6.12=6.12.118-1", "--series", "lore:cover@example.org"),
        *("--config", "debug", "--runs-dir", "/tmp/runs", "--probe", "hgm/*", "--repeat", "3"),
    ),
    kernel=KernelSummary(
        release="6.12.118",
        key="k" * 64,
        source=SourceIdentity(
            spec="debian:linux-source-6.12=6.12.118-1",
            kind="debian",
            origin=f"linux-source-6.12 6.12.118-1, sha256 {'e' * 64}",
            tree="b" * 40,
        ),
        series=SERIES,
        config=ConfigIdentity(features=("debug",), digest=hashlib.sha256(CONFIG).hexdigest()),
        toolchain="gcc (Debian 12.2.0-14+deb12u1) 12.2.0; GNU ld (GNU Binutils for Debian) 2.40",
    ),
    accel=AccelChoice(name="tcg", reason="no /dev/kvm", cpu="max"),
    machine=MachineSpec(hugepages=(HugePages(size=2**30, count=2),), memory=2**32),
    qemu_version="7.2.22",
    run_dir="/tmp/runs/two",
)


def with_series(record: RunRecord, series: SeriesIdentity, **source: str) -> RunRecord:
    assert record.kernel is not None
    identity = msgspec.structs.replace(record.kernel.source, **source)
    kernel = msgspec.structs.replace(record.kernel, series=series, source=identity)
    return msgspec.structs.replace(record, kernel=kernel)


def of_commit(record: RunRecord, commit: str) -> RunRecord:
    """Return a run as one of a commit of a local repository, without a series."""
    spec = f"git:/home/me/linux@{commit}"
    assert record.kernel is not None
    words = {record.kernel.source.spec: spec, SERIES.spec: "none"}
    record = with_series(
        record, NONE, spec=spec, kind="git", origin=f"commit {commit}", tree=commit[::-1]
    )
    command = tuple(words.get(word, word) for word in record.command)
    return msgspec.structs.replace(record, command=command)


def with_probes(record: RunRecord, *probes: ProbeResult, run_dir: str = "") -> RunRecord:
    run_dir = run_dir or record.run_dir
    return msgspec.structs.replace(record, probes=probes, run_dir=run_dir)


def unbuilt(record: RunRecord, reason: str) -> RunRecord:
    """Return the record of a kernel that does not compile; its shape is that of real runs.

    `tests.component.kernel.test_unbuilt` makes such runs.
    """
    kernel = record.kernel
    assert kernel is not None
    tried = KernelParts(
        source=kernel.source, series=kernel.series, config=kernel.config, toolchain=kernel.toolchain
    )
    return msgspec.structs.replace(
        record,
        verdict="ERROR",
        outcome=Outcome.NOT_COMPILED,
        exit_code=2,
        reason=reason,
        kernel=None,
        tried=tried,
        accel=None,
        qemu_version="",
        probes=tuple(probe(each.name, "LOST", "it was not run") for each in record.probes),
    )


def splats(name: str) -> tuple[Splat, ...]:
    return dmesg.scan((DATA / "console" / name).read_text())


def probe(
    name: str, status: Status, reason: str = "", splats: tuple[Splat, ...] = ()
) -> ProbeResult:
    where = f"probes/{name.replace('/', '+')}"
    return ProbeResult(name=name, status=status, reason=reason, splats=splats, directory=where)


CRASH = "kernel BUG at provoke/provoke2.c:61! in provoke_init"

#: What oops=panic makes of the crash: another splat, which says nothing more.
(ENDED,) = dmesg.scan(
    "Kernel panic - not syncing: Fatal exception\n"
    "NMI backtrace for cpu 0\n"
    "CPU: 0 UID: 0 PID: 71 Comm: insmod Tainted: G      D            6.12.118 #1\n"
    "Call Trace:\n"
    " <TASK>\n"
    " nmi_cpu_backtrace+0xbe/0xf0\n"
    " vpanic+0x277/0x2b0\n"
    " provoke_init+0x15d/0x1000\n"
    " </TASK>\n"
    "Sending NMI from CPU 0 to CPUs 1:\n"
    "NMI backtrace for cpu 1\n"
    "CPU: 1 UID: 0 PID: 0 Comm: swapper/1 Tainted: G      D            6.12.118 #1\n"
    "Call Trace:\n"
    " <TASK>\n"
    " default_idle_call+0x2c/0x53\n"
    " </TASK>\n"
    "Kernel Offset: disabled\n"
)

BASE = with_series(
    with_probes(
        msgspec.structs.replace(
            RUN,
            run_dir="/tmp/runs/one",
            command=tuple("none" if word == SERIES.spec else word for word in RUN.command),
        ),
        *(probe(f"hgm/fork/1G{n}", "PASS") for n in ("", "#2", "#3")),
        probe("hgm/hole/1G", "PASS"),
    ),
    NONE,
)

PATCHED = with_probes(
    RUN,
    probe("hgm/fork/1G", "PASS"),
    probe("hgm/fork/1G#2", "CRASH", CRASH, splats=(*splats("bug-dump-page.log"), ENDED)),
    probe("hgm/fork/1G#3", "PASS"),
    probe("hgm/hole/1G", "FAIL", "madvise(MADV_SPLIT): expected 0, got EINVAL; " * 3),
)

SYMBOLS: dict[str, tuple[str, ...]] = {
    "do_init_module+0x131/0x390": ("do_init_module at kernel/module/main.c:2523",)
}

OUTSIDE: dict[str, tuple[str, ...]] = {
    "mount_root+0x178/0x1e0": ("mount_root at init/do_mounts.c:392",),
    "lock_acquire+0x1b4/0x4f0": ("lock_acquire at kernel/locking/lockdep.c:5825",),
}


def letters(before: RunRecord, after: RunRecord, run_dir: Path) -> list[Letter]:
    return list(compare_mail.letters(compare(before, after), before, after, run_dir))


def with_config(run_dir: Path) -> Path:
    """Write a configuration, and what says where it is."""
    assert RUN.kernel is not None
    assert RUN.machine is not None
    assert RUN.accel is not None
    run_dir.mkdir(parents=True)
    (run_dir / "a.config").write_bytes(CONFIG)
    made_of = Ingredients(
        kernel=Kernel(
            key=RUN.kernel.key,
            release=RUN.kernel.release,
            image="",
            config=str(run_dir / "a.config"),
            source=RUN.kernel.source,
            series=SERIES,
            configuration=RUN.kernel.config,
        ),
        image=GuestImage(key="", initramfs="", disk="", manifest=""),
        machine=RUN.machine,
        accel=RUN.accel,
        specs=(),
        programs={},
        digests={},
    )
    (run_dir / rundir.INGREDIENTS).write_bytes(to_json(made_of))
    return run_dir


def captured(run_dir: Path) -> Path:
    """Write what the host learnt of the symbols in the crash, and outside of any probe."""
    crash, outside = run_dir / "probes" / "hgm+fork+1G#2", run_dir / rundir.OUTSIDE
    for directory, symbols in ((crash, SYMBOLS), (outside, OUTSIDE)):
        directory.mkdir(parents=True)
        (directory / "capture.json").write_bytes(to_json(Capture(why="splat", symbols=symbols)))
    return run_dir


def evaluation(number: int, term: str, reason: str, bad: int, samples: int) -> Evaluation:
    names = ("the source alone", "[PATCH v3 1/2] mm: a", "[PATCH v3 2/2] mm: b")
    data = {
        **{"candidate": {"id": f"{number:04}", "name": names[number]}, "term": term},
        **{"reason": reason, "runs": 1, "samples": samples, "bad": bad, "seconds": 9.0},
        **{"built": True, "run_dir": f"/tmp/runs/{number}"},
    }
    return msgspec.convert(data, Evaluation)


EVIDENCE = f"hgm/fork/1G#2: CRASH: {CRASH}"

FOUND = Bisection(
    predicate="bad if hgm/fork/1G ends in FAIL/CRASH/HANG",
    result="found",
    suspects=(Candidate(id="0002", name="[PATCH v3 2/2] mm: b"),),
    evaluations=(
        evaluation(2, "bad", EVIDENCE, 1, 3),
        evaluation(0, "absent", "hgm/fork/1G: SKIP: MADV_SPLIT: EINVAL", 0, 0),
        evaluation(1, "good", "hgm/fork/1G: PASS", 0, 3),
    ),
    evidence=EVIDENCE,
    before="hgm/fork/1G: PASS",
    diffstat=" mm/hugetlb.c |    3 ++-\n 1 file changed, 2 insertions(+), 1 deletion(-)",
)

COMMIT = "0123456789" * 4


def of_commits(found: Bisection) -> Bisection:
    """Return a bisection as one of commits."""
    culprit = Candidate(id=COMMIT, name="mm: b")
    others = (Candidate(id=f"{n}" * 40, name=f"mm: {n}") for n in (1, 2))
    named = tuple(
        msgspec.structs.replace(each, candidate=candidate)
        for each, candidate in zip(found.evaluations, (culprit, *others), strict=True)
    )
    return msgspec.structs.replace(found, suspects=(culprit,), evaluations=named)


BROKEN = unbuilt(PATCHED, "mm/a.c:1:2: error: 'x' undeclared")

NOT_BOOTED = msgspec.structs.replace(
    with_probes(RUN),
    outcome=Outcome.NOT_BOOTED,
    reason="the kernel panicked: VFS: Unable to mount root fs on unknown-block(0,0)",
    splats=splats("panic-no-root.log"),
)

(LOCKDEP,) = splats("lockdep-recursive.log")

#: A run with two splats outside of its probes, which all passed.
WITH_SPLATS = msgspec.structs.replace(
    with_probes(RUN, *BASE.probes), splats=(*NOT_BOOTED.splats, LOCKDEP)
)


def of_splat(title: str) -> Bisection:
    """Return a bisection whose evidence is a splat."""
    what = "bad if the kernel reports a splat"
    return msgspec.structs.replace(FOUND, predicate=what, evidence=title, before="it boots: PASS")


def of_build(found: Bisection) -> Bisection:
    """Return a bisection as one of a kernel that does not build."""
    evidence = f"does not build: {BROKEN.reason}"
    return msgspec.structs.replace(
        found, predicate="bad if it does not build", evidence=evidence, before="it builds"
    )


def cases(room: Path) -> dict[str, EmailMessage]:
    """Return the mails that are compared with files."""
    run_dir = captured(with_config(room / "run"))
    crash, failure = letters(BASE, PATCHED, run_dir)
    (fine,) = letters(BASE, with_probes(PATCHED, *BASE.probes), run_dir)
    build_dir = room / "build"
    build_dir.mkdir()
    (build_dir / rundir.BUILD_CONFIG).write_bytes(CONFIG)
    (broken,) = letters(BASE, BROKEN, build_dir)
    (dead,) = letters(BASE, NOT_BOOTED, run_dir)
    old, new = of_commit(BASE, "1" * 40), of_commit(PATCHED, "2" * 40)
    commits = letters(old, with_probes(new, PATCHED.probes[3]), room / "gone")[0]
    several = msgspec.structs.replace(
        FOUND,
        result="several",
        why="the kernel after patch 1 cannot be tested",
        suspects=(Candidate(id="0001", name="[PATCH v3 1/2] mm: a"), *FOUND.suspects),
        traced=(TracedSuspect(candidate=FOUND.suspects[0], function="f", hunk="h"),),
    )
    found = {
        **{"compare-crash": crash, "compare-failure": failure, "compare-fine": fine},
        **{"compare-does-not-build": broken, "compare-does-not-boot": dead},
        "compare-commits": commits,
        "bisect-splat": bisect_mail.letter(of_splat(LOCKDEP.title), WITH_SPLATS, run_dir),
        "bisect-series": bisect_mail.letter(FOUND, PATCHED, run_dir),
        "bisect-build": bisect_mail.letter(of_build(FOUND), BROKEN, build_dir),
        "bisect-several": bisect_mail.letter(several, PATCHED, run_dir),
        "bisect-commits": bisect_mail.letter(
            of_commits(FOUND), of_commit(PATCHED, COMMIT), run_dir
        ),
    }
    assert SENDER is not None
    return {name: mail.render(letter, SENDER, DATE) for name, letter in found.items()}


#: As arch/x86/kernel/process_64.c and fault.c of 6.12 print it; what a mail keeps has a ``+``.
OOPS_OF_X86_64 = """\
+BUG: kernel NULL pointer dereference, address: 0000000000000008
+#PF: supervisor write access in kernel mode
+#PF: error_code(0x0002) - not-present page
+PGD 0 P4D 0
+Oops: Oops: 0002 [#1] PREEMPT SMP
+CPU: 1 UID: 0 PID: 41 Comm: probe Not tainted 6.12.118 #1
-Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2-debian-1.16.2-1 04/01/2014
+RIP: 0010:hugetlb_fault+0x12/0x30
-Code: 00 00 90 90 90 <48> 89 47 08 c3
-RSP: 0018:ffffc90000123c88 EFLAGS: 00010246
-RAX: 0000000000000000 RBX: ffff888003b5c800 RCX: 0000000000000000
-RDX: 0000000000000001 RSI: 0000000000000000 RDI: 0000000000000000
-RBP: ffffc90000123d40 R08: 0000000000000000 R09: 0000000000000000
-FS:  00007f6c2e5d4740(0000) GS:ffff88803ec80000(0000) knlGS:0000000000000000
-CS:  0010 DS: 0000 ES: 0000 CR0: 0000000080050033
-CR2: 0000000000000008 CR3: 0000000004a3a000 CR4: 0000000000750ef0
-PKRU: 55555554
+Call Trace:
+ <TASK>
- ? __die+0x1e/0x60
+ handle_mm_fault+0x24c/0x270
+ </TASK>
-Modules linked in:
+---[ end trace 0000000000000000 ]---
"""

#: As arch/arm64/mm/fault.c, kernel/traps.c and kernel/process.c of 6.12 print it.
OOPS_OF_ARM64 = """\
+Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008
-Mem abort info:
-  ESR = 0x0000000096000044
-  EC = 0x25: DABT (current EL), IL = 32 bits
-  SET = 0, FnV = 0
-  EA = 0, S1PTW = 0
-  FSC = 0x04: level 0 translation fault
-Data abort info:
-  ISV = 0, ISS = 0x00000044, ISS2 = 0x00000000
-  CM = 0, WnR = 1, TnD = 0, TagAccess = 0
-  GCS = 0, Overlay = 0, DirtyBit = 0, Xs = 0
-user pgtable: 4k pages, 52-bit VAs, pgdp=0000000048be1a00
-[0000000000000008] pgd=0000000000000000, p4d=0000000000000000
+Internal error: Oops: 0000000096000044 [#1] PREEMPT SMP
-Modules linked in:
+CPU: 1 UID: 0 PID: 41 Comm: probe Not tainted 6.12.118 #1
-Hardware name: linux,dummy-virt (DT)
-pstate: 60401005 (nZCv daif +PAN -UAO -TCO -DIT +SSBS BTYPE=--)
+pc : hugetlb_fault+0x12/0x30
+lr : handle_mm_fault+0xcc/0x2c8
-sp : ffff800080a6bc60
-pmr_save: 000000e0
-x29: ffff800080a6bc60 x28: fff000000310b600 x27: 0000000000000000
-x2 : 0000000000000000 x1 : 0000000000000001 x0 : 0000000000000000
+Call trace:
+ hugetlb_fault+0x12/0x30 (P)
+ handle_mm_fault+0xcc/0x2c8
+ el0t_64_sync+0x190/0x198
-Code: 910003fd (b900001f)
+---[ end trace 0000000000000000 ]---
"""


@pytest.mark.parametrize("text", [OOPS_OF_X86_64, OOPS_OF_ARM64], ids=["x86-64", "arm64"])
def test_a_splat_is_shown_without_registers(text: str) -> None:
    lines = text.splitlines()
    (splat,) = dmesg.scan("".join(f"[    1.000000] {line[1:]}\n" for line in lines))
    assert len(splat.block) == len(lines)
    kept = [f"| {line[1:]}" for line in lines if line.startswith("+")]
    assert list(mail.reports([splat], {}))[1:] == kept


@pytest.mark.parametrize("name", [path.stem for path in (DATA / "report").glob("*.eml")])
def test_mails_are_as_they_were(tmp_path: Path, name: str) -> None:
    assert cases(tmp_path)[name].as_bytes() == (DATA / "report" / f"{name}.eml").read_bytes()


def test_every_mail_is_kept_and_fit_for_a_list(tmp_path: Path) -> None:
    found = cases(tmp_path)
    assert set(found) == {path.stem for path in (DATA / "report").glob("*.eml")}
    for message in found.values():
        read = email.message_from_bytes(message.as_bytes(), policy=email.policy.default)
        text = text_of(read)
        assert "Tested-by" not in text
        for line in text.splitlines():
            is_whole = line.startswith(("| ", "  ./hgm ", "#regzbot", "Link: "))
            assert is_whole or len(line) <= 72


def text_of(read: EmailMessage) -> str:
    """Return the text of a mail, which is all of it or its first part."""
    if read.get_content_type() == "text/plain":
        return str(read.get_content())
    assert read.get_content_type() == "multipart/mixed"
    text, *attached = read.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert [part.get_filename() for part in attached] == ["config.gz"]
    return str(text.get_content())


def test_the_configuration_is_attached_where_it_is_known_to_be_the_runs(tmp_path: Path) -> None:
    run_dir = with_config(tmp_path / "run")
    found = cases(tmp_path / "cases")["compare-fine"]
    (attached,) = found.iter_attachments()
    assert gzip.decompress(attached.get_content()) == CONFIG
    assert "The configuration is attached as config.gz." in text_of(found)
    assert mail.config_of(PATCHED, run_dir) == CONFIG
    (run_dir / "a.config").write_bytes(b"another file\n")
    assert mail.config_of(PATCHED, run_dir) == b""
    (run_dir / "a.config").unlink()
    assert mail.config_of(PATCHED, run_dir) == b""
    assert mail.config_of(PATCHED, tmp_path / "gone") == b""


@pytest.mark.parametrize(
    ("kind", "features", "config", "wanted"),
    [
        ("git", ("debug",), CONFIG, ("attached as config.gz", "This prints it:")),
        ("git", ("debug",), b"", ("not attached: hgm", "This prints it:")),
        ("git", ("/home/me/my.config",), CONFIG, ("attached as config.gz", "as my.config;")),
        ("git", ("my.config",), b"", ("not attached: hgm",)),
        ("image", (), CONFIG, ("attached as config.gz",)),
    ],
)
def test_what_is_said_of_the_configuration(
    kind: str, features: tuple[str, ...], config: bytes, wanted: tuple[str, ...]
) -> None:
    record = with_series(PATCHED, NONE, kind=kind)
    assert record.kernel is not None
    kernel = msgspec.structs.replace(record.kernel, config=ConfigIdentity(features=features))
    record = msgspec.structs.replace(record, kernel=kernel)
    text = "\n".join(mail.configuration(record, config))
    said = ("attached as config.gz", "not attached: hgm", "as my.config;", "This prints it:")
    assert tuple(each for each in said if each in text) == wanted


def test_a_mail_answers_the_series_or_the_patch(tmp_path: Path) -> None:
    found = cases(tmp_path)
    series, patch = found["compare-crash"], found["bisect-series"]
    assert series["Subject"] == "Re: [PATCH v3 0/2] mm: hugetlb: do it"
    assert series["In-Reply-To"] == "<cover@example.org>"
    assert patch["Subject"] == "Re: [PATCH v3 2/2] mm: b"
    assert patch["In-Reply-To"] == "<two@example.org>"
    assert patch["References"] == "<cover@example.org> <two@example.org>"
    assert found["bisect-commits"]["In-Reply-To"] is None


def test_regzbot_is_told_of_commits_alone(tmp_path: Path) -> None:
    texts = {name: text_of(message) for name, message in cases(tmp_path).items()}
    told = {name: text for name, text in texts.items() if "#regzbot" in text}
    assert set(told) == {"compare-commits", "bisect-commits"}
    assert f"\n#regzbot introduced: {'1' * 40}..{'2' * 40}\n" in told["compare-commits"]
    assert f"\n#regzbot introduced: {COMMIT}\n" in told["bisect-commits"]


def test_the_commit_that_fixes_is_not_a_regression(tmp_path: Path) -> None:
    fixed = msgspec.structs.replace(of_commits(FOUND), first_good=True)
    letter = bisect_mail.letter(fixed, of_commit(PATCHED, COMMIT), tmp_path)
    assert "#regzbot" not in "\n".join(letter.body)
    assert "fixes" in letter.subject


def test_a_link_is_to_the_public_archive_alone(tmp_path: Path) -> None:
    def links(record: RunRecord) -> list[str]:
        _, references = mail.thread(record)
        return list(mail.link(record, references))

    assert links(PATCHED) == ["Link: https://lore.kernel.org/r/cover@example.org"]
    private = (*PATCHED.command, "--mail-from", "/home/me/Mail")
    assert links(msgspec.structs.replace(PATCHED, command=private)) == []
    box = msgspec.structs.replace(SERIES, spec="mbox:/tmp/x")
    assert links(with_series(PATCHED, box)) == []


def test_page_dump_and_decoded_trace_are_there_and_registers_are_not(tmp_path: Path) -> None:
    text = text_of(cases(tmp_path)["compare-crash"])
    assert "| page: refcount:1 mapcount:0" in text
    assert "| kernel BUG at provoke/provoke2.c:61!" in text
    assert "|  do_init_module+0x131/0x390 (kernel/module/main.c:2523)\n" in text
    assert not {"RAX", "Code:", "kasan_save_track", "Modules linked in"} & set(text.split())


def test_a_kernel_that_does_not_boot_has_its_panic_with_lines(tmp_path: Path) -> None:
    run_dir = captured(tmp_path / "run")
    (ended,) = letters(BASE, NOT_BOOTED, run_dir)
    evidence = f"does not boot: {NOT_BOOTED.reason}"
    predicate = "bad if it does not boot"
    found = msgspec.structs.replace(FOUND, evidence=evidence, predicate=predicate)
    of_boot = bisect_mail.letter(found, NOT_BOOTED, run_dir)
    for letter in (ended, of_boot):
        text = "\n".join(letter.body)
        assert "\nWhat the kernel reported:\n\n| Kernel panic - not syncing: VFS: Unable" in text
        assert "|  mount_root+0x178/0x1e0 (init/do_mounts.c:392)\n" in text
    alone = bisect_mail.letter(of_commits(found), with_series(NOT_BOOTED, NONE), run_dir)
    assert alone.subject == "[hgm] mm: b: breaks: it does not boot"


def test_a_new_splat_outside_of_the_probes_has_lines(tmp_path: Path) -> None:
    run_dir = captured(tmp_path / "run")
    found = letters(BASE, WITH_SPLATS, run_dir)
    assert len(found) == 2
    assert "|  mount_root+0x178/0x1e0 (init/do_mounts.c:392)" in found[0].body


def test_a_splat_that_was_bisected_is_shown_alone_and_in_its_probe(tmp_path: Path) -> None:
    run_dir = captured(tmp_path / "run")
    outside = "\n".join(bisect_mail.letter(of_splat(LOCKDEP.title), WITH_SPLATS, run_dir).body)
    assert f"| {LOCKDEP.block[3]}".rstrip() in outside
    assert "Kernel panic" not in outside
    title = PATCHED.probes[1].splats[0].title
    inside = "\n".join(bisect_mail.letter(of_splat(title), PATCHED, run_dir).body)
    assert "|  do_init_module+0x131/0x390 (kernel/module/main.c:2523)\n" in inside
    assert "--probe hgm/fork/1G\n" in inside


def test_a_panic_that_only_follows_an_oops_is_left_out(tmp_path: Path) -> None:
    crash = PATCHED.probes[1].splats
    assert crash[-1] is ENDED
    assert "Fatal exception" not in text_of(cases(tmp_path)["compare-crash"])
    outside = msgspec.structs.replace(with_probes(RUN, *BASE.probes), splats=crash)
    (found,) = letters(BASE, outside, tmp_path)
    assert "kernel BUG at provoke" in "\n".join(found.body)
    panic = NOT_BOOTED.splats[0]
    assert list(mail.telling([LOCKDEP, panic, ENDED])) == [LOCKDEP, panic]


def test_a_panic_alone_is_shown_without_the_other_cpus() -> None:
    text = "\n".join(mail.reports([ENDED], {}))
    assert "|  provoke_init+0x15d/0x1000" in text
    assert "swapper" not in text


def test_a_long_report_is_cut() -> None:
    splat = Splat(
        kind="bug", title="x", block=tuple(f"f+{n:#x}/0x900" for n in range(100)), offset=0
    )
    lines = list(mail.reports([splat], {}))
    assert lines[-1] == "| [40 more lines]"
    assert len(lines) == 62


def test_the_reproducer_runs_the_one_probe(tmp_path: Path) -> None:
    text = text_of(cases(tmp_path)["compare-crash"])
    assert (
        "  ./hgm run --kernel debian:linux-source-6.12=6.12.118-1 --series "
        "lore:cover@example.org --config debug --repeat 3 --probe hgm/fork/1G\n"
    ) in text
    assert (
        "  ./hgm kernel config --kernel debian:linux-source-6.12=6.12.118-1 --series "
        "lore:cover@example.org --config debug\n"
    ) in text


@pytest.mark.parametrize(
    ("kind", "origin", "base"),
    [
        ("tree", "/home/me/linux, commit 0123 with changes", "linux, commit 0123 with changes"),
        ("image", "/home/me/bzImage, sha256 0123", "bzImage, sha256 0123"),
        ("git", "commit 0123", "commit 0123"),
    ],
)
def test_no_path_of_this_machine_leaves_it(
    tmp_path: Path, kind: str, origin: str, base: str
) -> None:
    local = msgspec.structs.replace(SERIES, spec="mbox:/home/me/v3.mbox")
    record = with_series(PATCHED, local, spec=f"{kind}:/home/me/linux@v6", kind=kind, origin=origin)
    words = ("--kernel", f"{kind}:/home/me/linux@v6", "--series", "mbox:/home/me/v3.mbox")
    command = ("env", "-C", "/home/me", "/home/me/hgm", "run", *words, "--with", "/home/me/a.patch")
    assert record.kernel is not None
    record = msgspec.structs.replace(
        record,
        command=command,
        kernel=msgspec.structs.replace(
            record.kernel, config=ConfigIdentity(features=("/home/me/my.config",), digest="f" * 64)
        ),
    )
    other = with_series(record, NONE, tree="d" * 40)
    broken = unbuilt(record, "mm/a.c: error; log: /home/me/runs/build.log")
    evidence = f"does not build: {broken.reason}"
    sent = [
        *letters(other, with_probes(record, *other.probes), tmp_path),
        *letters(with_probes(other, *BASE.probes), broken, tmp_path),
        bisect_mail.letter(msgspec.structs.replace(FOUND, evidence=evidence), broken, tmp_path),
    ]
    assert [letter.body for letter in sent if "/home" in "\n".join(letter.body)] == []
    (fine, ended, _) = ("\n".join(letter.body) for letter in sent)
    assert "No regression." in fine
    assert f"after      6.12.118, {kind}:linux@v6, series mbox:v3.mbox" in fine
    assert f"Other differences: source: {kind}:linux@v6 (6.12.118)," in fine
    assert "| mm/a.c: error; log: build.log" in ended
    text = "\n".join([*mail.about(record), *mail.reproducer(record, b"")])
    assert "/home" not in text
    assert "config     base + my.config\n" in text
    assert f"base       {base}\n" in text
    assert "series     mbox:v3.mbox, 2 patches\n           Message-ID cover@example.org\n" in text
    assert f"--kernel {kind}:linux@v6 --series mbox:v3.mbox --with a.patch" in text


@pytest.mark.parametrize(
    ("name", "commit", "probe"),
    [("compare-commits", "2" * 40, "hgm/hole/1G"), ("bisect-commits", COMMIT, "hgm/fork/1G")],
)
def test_the_reproducer_of_a_commit_names_it(
    tmp_path: Path, name: str, commit: str, probe: str
) -> None:
    text = text_of(cases(tmp_path)[name])
    kernel = f"--kernel git:linux@{commit} --series none --config debug"
    assert f"  ./hgm run {kernel} --repeat 3 --probe {probe}\n" in text
    assert f"  ./hgm kernel config {kernel}\n" in text
    assert "lore" not in text


def test_a_commit_that_does_not_build_is_named_in_the_subject_and_to_regzbot() -> None:
    old, new = of_commit(BASE, "1" * 40), of_commit(PATCHED, "2" * 40)
    (letter,) = letters(old, unbuilt(new, "mm/a.c:1:2: error"), Path("/nowhere"))
    assert letter.subject == f"[hgm] git:linux@{'2' * 40}: did not compile"
    assert letter.body[-1] == f"#regzbot introduced: {'1' * 40}..{'2' * 40}"
    splat = msgspec.structs.replace(new, probes=old.probes, splats=(LOCKDEP,))
    (letter,) = letters(old, splat, Path("/nowhere"))
    assert letter.body[-1] == f"#regzbot introduced: {'1' * 40}..{'2' * 40}"


def test_the_command_that_prints_the_configuration_has_no_mail_of_touched() -> None:
    words = ("--series", "mbox:/v3", "--touched", "lore:a@b", "--mail-from", "/home/me/Mail")
    command = ("hgm", "run", "--kernel", "git:x@v6", *words)
    text = "\n".join(mail.reproducer(msgspec.structs.replace(PATCHED, command=command), b""))
    assert text.count("--mail-from") == 1


def test_both_commands_name_the_architecture() -> None:
    command = ("hgm", "run", "--kernel", "git:x@v6", "--series", "none", "--arch", "arm64")
    text = "\n".join(mail.reproducer(msgspec.structs.replace(PATCHED, command=command), b""))
    assert text.count("--arch arm64") == 2


def test_an_mbox_can_be_read_again(tmp_path: Path) -> None:
    found = cases(tmp_path)
    path = tmp_path / "box"
    path.write_bytes(b"".join(map(mail.mbox, found.values())))
    read = list(mailbox.mbox(path))
    assert [each["Subject"] for each in read] == [each["Subject"] for each in found.values()]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("A <a@example.org>", True),
        ("a@example.org", True),
        ("\u00c9mile <e@example.org>", True),
        ("A", False),
        ("", False),
        ("A <a@example.org>\nBcc: x@example.org", False),
        ("A <a@>", False),
    ],
)
def test_senders(text: str, good: bool) -> None:
    assert (mail.parse_sender(text) is not None) is good


def _check_hostile(record: RunRecord, run_dir: Path = Path("/nowhere")) -> None:
    """Check that what a guest says is in lines that no tool reads as more than text."""
    series = msgspec.structs.replace(SERIES, subject=f"[PATCH] {record.reason}")
    record = with_series(record, series, tree="b" * 40)
    probes = tuple(msgspec.structs.replace(p, status="PASS") for p in record.probes)
    before = with_series(msgspec.structs.replace(record, probes=probes, splats=()), NONE)
    found: Comparison = compare(before, record)
    sent = list(compare_mail.letters(found, before, record, run_dir))
    bisection = msgspec.structs.replace(FOUND, evidence=record.reason, diffstat=record.reason)
    sent.append(bisect_mail.letter(bisection, record, run_dir))
    assert SENDER is not None
    for letter in sent:
        data = mail.render(letter, SENDER, DATE).as_bytes()
        read = email.message_from_bytes(data, policy=email.policy.default)
        assert read.defects == []
        names = ["From", "Date", "Subject", "In-Reply-To", "References"]
        mime = ["Content-Type", "Content-Transfer-Encoding", "MIME-Version"]
        assert sorted(read.keys()) == sorted([*names, *mime])
        assert all(len(line) <= 998 for line in data.split(b"\n"))
        for line in text_of(read).split("\n"):
            assert all(c.isprintable() for c in line)
            commands = ("#regzbot", "#syz", "diff --git", "---", "From ", ">", "-- ")
            assert not line.lstrip().startswith(commands)
            assert not line.lstrip().startswith(("Tested-by", "Reviewed-by", "Fixes"))
    # What is not cut as too long is all there: in the mail of the last splat, and the bisection's.
    for letter in sent[-2:]:
        text = "".join("".join(line.removeprefix("| ") for line in letter.body).split())
        assert "".join(printable(record.reason[:300]).split()) in text, letter


def test_200_hostile_lines_in_mails(tmp_path: Path) -> None:
    run_dir = with_config(tmp_path / "run")
    for number, line in enumerate(hostile.LINES):
        record = hostile.record([line], first=number % 7)
        _check_hostile(msgspec.structs.replace(record, kernel=RUN.kernel), run_dir)


@given(text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=300))
def test_any_text_in_mails(text: str) -> None:
    assume(not text.lstrip(" ").startswith("? "))  # an unreliable frame, which is left out
    _check_hostile(hostile.record([text]))


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as room:
        for name, message in cases(Path(room)).items():
            (DATA / "report" / f"{name}.eml").write_bytes(message.as_bytes())
