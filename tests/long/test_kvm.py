# SPDX-License-Identifier: GPL-2.0-only
"""Under a KVM that works, on any host: see kvm_machine.py.

One command: `./hgm test long -k kvm`. What the harness needs is fetched and built here first, so
that the machine, which has no network and a slow CPU, only boots and runs.
"""

import shlex
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.arch import arch, host_arch
from harness.cli.options import DEFAULT_KERNEL
from harness.context import Context
from harness.deadline import Deadline
from harness.kernel.obtain import KernelRequest, obtain
from harness.probes import catalog
from harness.probes.compile import compile_probes
from harness.records.base import from_json
from harness.records.run import RunRecord
from harness.records.study import PostcopyRounds
from harness.report.progress import PlainProgress
from harness.vm import accel
from harness.workspace import Workspace
from tests.long import kvm_machine

_SECONDS = 4 * 3600.0
_ROOT = Path(__file__).parents[2]
TRIES = 3

#: Rounds of the study: enough to compare, and far too few for a difference to count.
ROUNDS = 2

#: Tests of the kernel suite that crash, hang, look into and restore a guest.
_FAILURES = "tests/kernel/test_failures.py::test_a_"
_SNAPSHOT = "tests/kernel/test_snapshot.py::test_"
EVIDENCE = (
    "tests/kernel/test_evidence.py::test_each_end_has_its_status_and_its_blame",
    "tests/kernel/test_evidence.py::test_an_nmi_works_where_sysrq_does_not",
    f"{_FAILURES}crash_and_a_hang_are_told_apart_and_the_rest_gets_a_new_guest",
    f"{_FAILURES}leak_fails_a_probe_and_its_guest_is_abandoned",
    f"{_FAILURES}guest_that_makes_no_progress_in_boot_is_captured",
    "tests/kernel/test_checkpoint.py",
    f"{_SNAPSHOT}siblings_share_their_memory_and_nothing_that_is_their_own",
    f"{_SNAPSHOT}probes_in_fresh_guests_end_as_ever_and_a_crash_leaves_the_snapshot",
)


def _in_machine(directory: Path, job: str) -> Path:
    """Run a job in the machine and return the directory in which it left what it found."""
    context = Context(
        Workspace.default(), Deadline.after(_SECONDS, "the KVM machine"), PlainProgress(sys.stderr)
    )
    with pytest.MonkeyPatch.context() as patch:
        # With the machine's programs, of which Kconfig notes some, so that it finds these kernels.
        patch.setenv("PATH", _path())
        for series in ("hgm-6.12", "none"):
            request = KernelRequest(source=DEFAULT_KERNEL, series=series, arch=host_arch().name)
            kernel = obtain(request, context, build_log=directory / "build.log")
            compile_probes(catalog.load(), context, kernel=kernel, log=directory / "probes.log")
    assert list(accel.other_kernels(arch("x86_64"), context)), (
        "Debian's kernel could not be fetched"
    )
    cache = Workspace.default().cache
    begin = f"""\
cd {shlex.quote(str(_ROOT))} || exit 1
export HOME=/root HGM_CACHE={shlex.quote(str(cache))} PATH={shlex.quote(_path())} PYTHONPATH=$PWD
"""
    code = kvm_machine.run(begin + job, directory, context)
    assert code == 0, (directory / "output").read_text()
    return directory


def _hgm(*words: str) -> str:
    """Return a command with one CPU inside as well.

    Two take turns on the machine's, and one waits for the other's spinlock.
    """
    hgm = (sys.executable, "-m", "harness.cli", *words)
    return shlex.join([*hgm, "--cpus", "1", "--timeout", "7200", "--json"])


def _until_verdict(command: str, output: str) -> str:
    """Return the shell's lines that repeat a command without a verdict; ``$code`` is the last's.

    The emulated SVM loses an interrupt now and then, and the guest then waits for it in boot. For
    the same reason a test that failed is repeated.
    """
    return f"""\
for try in $(seq {TRIES}); do
	{command} >{output}
	code=$?
	[ $code = 3 ] || break
done"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run and the tests of the evidence left."""
    # 6.1 is not built here; what failed runs again.
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "harness.pytest_plugin"]
    pytest_ += [*EVIDENCE, "-k", "not linux-source-6.1-", "--lf", "-o", "cache_dir=/root/tests"]
    job = f"""\
{_until_verdict(_hgm("run", "--runs-dir", "/root/runs"), "/mnt/run.$try.json")}
echo $code >/mnt/run.code
cp -r /root/runs /mnt/runs
for try in $(seq {TRIES}); do
	{shlex.join(pytest_)} --junitxml=/mnt/junit.$try.xml && break
done
"""
    return _in_machine(tmp_path_factory.mktemp("kvm"), job)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> PostcopyRounds:
    """What the study found in some rounds."""
    study = _hgm("study", "postcopy", "--rounds", str(ROUNDS), "--runs-dir", "/root/runs")
    job = f"{_until_verdict(study, '/mnt/study.json')}\nexit $code\n"
    directory = _in_machine(tmp_path_factory.mktemp("study"), job)
    return from_json((directory / "study.json").read_bytes(), PostcopyRounds)


def _path() -> str:
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return f"{Path(sys.executable).parent}:{system}"


def test_kvm_is_chosen_and_the_default_probes_pass(shared: Path) -> None:
    record = from_json(sorted(shared.glob("run.*.json"))[-1].read_bytes(), RunRecord)
    assert record.accel is not None
    assert record.accel.name == "kvm"
    assert record.accel.reason.startswith("a 64-bit Linux kernel was seen to start under KVM with")
    assert any("accel=kvm" in word for word in record.qemu)
    assert record.hugepages is not None
    assert record.hugepages.got == record.hugepages.asked
    assert record.verdict == "PASS", record.reason
    assert record.splats == record.machine_splats == ()
    assert (shared / "run.code").read_text().strip() == "0"


def test_hangs_and_crashes_are_captured(shared: Path) -> None:
    tries = [_results(path) for path in sorted(shared.glob("junit.*.xml"))]
    assert len(tries[0]) >= len(EVIDENCE)
    ends = {name: result for results in tries for name, result in results.items()}
    assert set(ends.values()) == {"passed"}, (ends, (shared / "output").read_text())


def test_rounds_of_the_study_compare_times(studied: PostcopyRounds) -> None:
    assert studied.verdict == "PASS", studied.reason
    assert {run.accel for run in studied.runs} == {"kvm"}
    assert len(studied.runs) == ROUNDS < studied.rounds_needed
    assert studied.reference.endswith("split")
    others = [each for each in studied.times if each.memory != studied.reference]
    assert others
    assert all(each.ratio is not None and each.p is not None for each in others)


def _results(path: Path) -> dict[str, str]:
    cases = ElementTree.parse(path).getroot().iter("testcase")  # noqa: S314 - pytest wrote it
    return {
        f"{case.get('classname')}.{case.get('name')}": next(
            (element.tag for element in case if element.tag in ("failure", "error", "skipped")),
            "passed",
        )
        for case in cases
    }
