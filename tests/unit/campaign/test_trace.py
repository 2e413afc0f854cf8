# SPDX-License-Identifier: GPL-2.0-only
"""Which patches change what is in the stack of a fault."""

import json
from pathlib import Path

import msgspec

from harness.campaign import trace
from harness.campaign.predicate import Predicate
from harness.records.base import to_json
from harness.records.campaign import Candidate
from harness.records.probe import Capture, ProbeResult, Splat
from harness.records.run import RunRecord
from harness.store import rundir
from tests.unit.campaign.records import probed

PATCH = """\
From: somebody
Subject: [PATCH] mm: x

int not_a_hunk(void)
---
diff --git a/mm/a.c b/mm/a.c
--- a/mm/a.c
+++ b/mm/a.c
@@ -10,6 +10,7 @@ static int first(struct vm_area_struct *vma,
 \tint a;
+\tint b;
 }

 int
 second(void)
 {
@@ -90,5 +91,9 @@ out:
 \tif (a)
 }
+
+static void *third(int a)
+{
+}

 int fourth(void);
--\x20
2.39.0
"""


def test_functions_that_a_patch_changes() -> None:
    found = [
        (touch.function, touch.hunk.partition(" @@ ")[2][:9]) for touch in trace.touched(PATCH)
    ]
    assert set(found) == {("first", "-10,6 +10"), ("third", "-90,5 +91")}
    assert {touch.hunk.split()[0] for touch in trace.touched(PATCH)} == {"mm/a.c"}


def test_what_is_not_a_patch_changes_nothing() -> None:
    assert list(trace.touched("@@ -1,2 +1,2 @@\n")) == []
    assert list(trace.touched("GIT binary patch\nliteral 3\n")) == []


def _patch(*functions: str) -> str:
    hunks = (f"@@ -1,2 +1,2 @@ int {name}(void)\n-\ta;\n+\tb;\n \tc;\n" for name in functions)
    return "--- a/x.c\n+++ b/x.c\n" + "".join(hunks)


def test_the_innermost_function_comes_first_then_the_most() -> None:
    patches = {
        "1": _patch("outer"),
        "2": _patch("middle"),
        "3": _patch("elsewhere"),
        "4": _patch("outer", "middle"),
        "5": _patch("inner"),
    }
    ranked = trace.rank(
        ("inner", "middle", "outer"),
        [(Candidate(id=number, name=""), text) for number, text in patches.items()],
    )
    assert [(each.candidate.id, each.function) for each in ranked] == [
        *(("5", "inner"), ("4", "middle"), ("2", "middle"), ("1", "outer")),
    ]
    assert ranked[0].hunk == "x.c @@ -1,2 +1,2 @@ int inner(void)"


def test_a_system_call_is_its_definition() -> None:
    patch = _patch("x").replace("int x(void)", "SYSCALL_DEFINE3(madvise, unsigned long, start,")
    for name in ("__x64_sys_madvise", "__do_sys_madvise", "__se_sys_madvise"):
        (found,) = trace.rank(("inner", name), [(Candidate(id="1", name=""), patch)])
        assert found.function == "sys_madvise"
    assert trace.rank(("__x64_sys_mmap",), [(Candidate(id="1", name=""), patch)]) == ()


def _with(probe: ProbeResult, **fields: object) -> RunRecord:
    return msgspec.structs.replace(
        probed(), probes=(msgspec.structs.replace(probe, **fields),), verdict="FAIL"
    )


PROBE = ProbeResult(name="hgm/x/2M", status="HANG", reason="long")
BLOCK = (
    "BUG: kernel NULL pointer dereference",
    "RIP: 0010:inner+0x1/0x20",
    "Call Trace:",
    " ? stale+0x1/0x20",
    " middle.isra.0+0x1/0x20",
    " outer+0x1/0x20",
)


def test_functions_of_a_splat(tmp_path: Path) -> None:
    splat = Splat(kind="oops", title=BLOCK[0], block=BLOCK, offset=0)
    record = _with(PROBE, splats=(splat,))
    assert trace.functions(record, Predicate(probes=("hgm/x/2M",))) == ("inner", "middle", "outer")
    assert trace.functions(record, Predicate(probes=("hgm/y/2M",))) == ()
    about = Predicate(about="splat")
    outside = msgspec.structs.replace(probed(), splats=(splat,))
    assert trace.functions(outside, about) == ("inner", "middle", "outer")
    symbols: dict[str, tuple[str, ...]] = {"outer+0x1/0x20": ("inlined at mm/a.c:1", "outer")}
    directory = tmp_path / rundir.OUTSIDE
    directory.mkdir()
    capture = Capture(why="splat", symbols=symbols)
    (directory / rundir.CAPTURE).write_bytes(to_json(capture))
    located = msgspec.structs.replace(outside, run_dir=str(tmp_path))
    assert trace.functions(located, about) == ("inner", "middle", "inlined", "outer")


def test_functions_of_a_capture(tmp_path: Path) -> None:
    before = b"[    1.000000] task:x state:D stack:0 pid:7 ppid:1\n[    1.000000]  early+0x1/0x20\n"
    console = (
        b"[    2.000000] task:other state:S stack:0 pid:5 tgid:5 ppid:1 flags:0x0\n"
        b"[    2.000000]  elsewhere+0x1/0x20\n"
        b"[    2.000000] task:x state:D stack:0 pid:7 tgid:7 ppid:1 flags:0x0\n"
        b"[    2.000000]  schedule+0x1/0x20\n[    2.000000]  middle+0x5/0x20\n"
        b"[    2.000000]  outer+0x1/0x20\n"
    )
    (tmp_path / "serial.log").write_bytes(before + console)
    (tmp_path / "probe").mkdir()
    capture = Capture(
        why="hang",
        console_from=len(before),
        console_to=len(before) + len(console),
        symbols={"middle+0x5/0x20": ("inlined at mm/a.c:3", "middle at mm/a.c:9")},
    )
    (tmp_path / "probe/capture.json").write_bytes(to_json(capture))
    record = _with(PROBE, blame="middle at mm/a.c:9, state D", directory="probe")
    record = msgspec.structs.replace(record, run_dir=str(tmp_path))
    found = trace.functions(record, Predicate(probes=("hgm/x/2M",)))
    assert found == ("middle", "schedule", "inlined", "outer")


def test_functions_of_a_recorded_hang(tmp_path: Path) -> None:
    """Both CPUs spin on a page-table lock: one in fork's way out, one in a page fault."""
    recorded = Path(__file__).parents[2] / "data/hang/fork-two-cpus"
    (tmp_path / "serial.log").write_bytes((recorded / "console.log").read_bytes())
    (tmp_path / "probe").mkdir()
    capture = json.loads((recorded / "capture.json").read_text())
    capture |= {"console_from": 0, "console_to": (tmp_path / "serial.log").stat().st_size}
    (tmp_path / "probe/capture.json").write_text(json.dumps(capture))
    record = _with(PROBE, blame="__pmd_trans_huge_lock, waiting in x, on CPU 0", directory="probe")
    record = msgspec.structs.replace(record, run_dir=str(tmp_path))
    found = trace.functions(record, Predicate(probes=("hgm/x/2M",)))
    assert found[0] == "__pmd_trans_huge_lock"
    places = [found.index(name) for name in ("exit_mmap", "copy_process", "do_huge_pmd_wp_page")]
    assert places == sorted(places)
