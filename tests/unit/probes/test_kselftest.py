# SPDX-License-Identifier: GPL-2.0-only
"""Which of the kernel's own tests are run, and how the guest is told to prepare for them."""

from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.probes import catalog, kselftest, selftests
from harness.probes.kselftest import Collection, Inventory, KselftestEntry

COLLECTION = Collection(
    directories=("mm", "vm"),
    sources=("tools/testing/selftests",),
    memory="4G",
    budget=120,
    runner="run_vmtests.sh",
    helpers=("helper",),
    libraries=("../library.sh",),
    test=(
        KselftestEntry(program="cow", pools={"2M": 128}, swap=True, budget=60),
        KselftestEntry(program="stress", variant="anon", arguments=("anon", "20")),
        KselftestEntry(program="stress", variant="hugetlb", arguments=("hugetlb", "128")),
        KselftestEntry(program="madvise"),
        KselftestEntry(program="madvise", directory="vm", arguments=("/dev/hugepages-2M/file",)),
        KselftestEntry(program="old", directory="vm"),
        KselftestEntry(
            program="limits.sh",
            needs={"/dev/x": "CONFIG_X"},
            set={"vm.overcommit_memory": "1"},
            user="nobody",
            nodes=2,
        ),
    ),
)
NEW = Inventory(
    directory="mm",
    programs=("cow", "helper", "madvise", "stress", "unheard-of"),
    scripts=("limits.sh",),
)
OLD = Inventory(directory="vm", programs=("madvise", "old"), scripts=())


def planned(inventory: Inventory, *patterns: str) -> kselftest.Plan:
    return kselftest.plan("mm", COLLECTION, inventory, patterns)


def test_everything_is_the_table_in_its_order_then_what_it_does_not_name() -> None:
    plan = planned(NEW, "*")
    assert [test.name for test in plan.tests] == [
        "cow",
        "stress/anon",
        "stress/hugetlb",
        "madvise",
        "limits.sh",
        "unheard-of",
    ]
    assert plan.absent == ()
    assert set(plan.files) == {*NEW.programs, *NEW.scripts, *COLLECTION.libraries}


def test_tests_of_the_table_that_the_tree_lacks_are_noted() -> None:
    plan = planned(OLD, "*")
    assert [test.name for test in plan.tests] == ["madvise", "old"]
    assert plan.absent == ("cow", "stress/anon", "stress/hugetlb", "limits.sh")


@pytest.mark.parametrize(
    ("suffix", "flag"), [("", "poe"), ("_64", "ospke")], ids=["arm64", "x86-64"]
)
def test_tests_of_protection_keys_are_known_by_each_architectures_names(
    suffix: str, flag: str
) -> None:
    names = (f"pkey_sighandler_tests{suffix}", f"protection_keys{suffix}")
    tree = Inventory(directory="mm", programs=names, scripts=())
    plan = kselftest.plan("mm", kselftest.load()["mm"], tree, ["*"])
    budgets = {test.program: test.budget for test in plan.tests}
    assert budgets == dict(zip(names, (300, 1800), strict=True))
    (needs,) = (test.needs for test in plan.tests if test.program == names[0])
    assert list(needs) == [flag]


def test_an_entry_for_the_directory_replaces_the_general_one() -> None:
    assert planned(NEW, "madvise").tests[0].arguments == ()
    assert planned(OLD, "madvise").tests[0].arguments == ("/dev/hugepages-2M/file",)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("stress", ["stress/anon", "stress/hugetlb"]),
        ("stress/h*", ["stress/hugetlb"]),
        ("*s*", ["stress/anon", "stress/hugetlb", "madvise", "limits.sh"]),
        ("unheard-of", ["unheard-of"]),
    ],
)
def test_a_pattern_names_a_program_or_one_of_its_variants(pattern: str, found: list[str]) -> None:
    assert [test.name for test in planned(NEW, pattern).tests] == found


def test_helpers_go_with_scripts_only_and_are_not_tests() -> None:
    assert planned(NEW, "cow").files == ("cow",)
    assert planned(NEW, "limits.sh").files == ("../library.sh", "helper", "limits.sh")
    with pytest.raises(SpecError, match="mm:helper matches no test"):
        planned(NEW, "helper")


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [("cwo", "similar: cow"), ("old", "similar"), ("zzz", "it has: cow, stress")],
)
def test_a_pattern_that_the_tree_has_nothing_for_is_an_error(pattern: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        planned(NEW, pattern)
    assert f"mm:{pattern} matches no test in tools/testing/selftests/mm" in caught.value.message
    assert hint in caught.value.hint or pattern == "old"


MAKEFILE = """\
# silent.sh is only mentioned here
TEST_GEN_FILES += cow stress madvise unheard-of
TEST_PROGS += ksft_cow.sh limits.sh
all: check_config.sh
"""

RUNNER = """\
bin=./stress
size=128
CATEGORY="cow" run_test ./cow
CATEGORY="stress" run_test ${bin} anon 20
CATEGORY="stress" run_test ${bin} hugetlb $size \\
    more
CATEGORY="stress" run_test ./cow $(nproc) "quoted"
CATEGORY="mlock" run_test sudo -u nobody bash ./limits.sh smoke
CATEGORY="gone" run_test ./gone
run_test() {
"""


def tree() -> Inventory:
    texts = {
        "Makefile": MAKEFILE,
        "run_vmtests.sh": RUNNER,
        "ksft_cow.sh": "#!/bin/sh -e\n./run_vmtests.sh -t cow\n",
        "limits.sh": "# not by run_vmtests.sh\n",
        "silent.sh": "",
        "check_config.sh": "",
        "lost.c": "#include <stdio.h>\nint main(int argc, char **argv)\n",
        "lost-too.c": "TEST_HARNESS_MAIN\n",
        "util.c": "int used_by_main(void)\n",
        "cow.c": "int main(void)\n",
    }
    built = ("cow", "stress", "madvise", "unheard-of", "stress")
    scripts = ("ksft_cow.sh", "limits.sh", "run_vmtests.sh")
    return kselftest.examine("mm", built, scripts, texts, "run_vmtests.sh")


def test_what_a_tree_has_is_read_from_its_makefile_and_its_runner() -> None:
    assert tree() == Inventory(
        directory="mm",
        programs=("cow", "madvise", "stress", "unheard-of"),
        scripts=("limits.sh",),
        wrappers=("ksft_cow.sh",),
        unlisted=("lost-too.c", "lost.c", "silent.sh"),
        runs=(
            ("cow",),
            ("stress", "anon", "20"),
            ("stress", "hugetlb", "128", "more"),
            ("cow", "$(nproc)", '"quoted"'),
            ("limits.sh", "smoke"),
            ("gone",),
        ),
    )


def test_arguments_that_only_the_runner_has_are_run_too() -> None:
    names = {test.name: test for test in planned(tree(), "*").tests}
    assert list(names) == [
        *("cow", "stress/anon", "stress/hugetlb", "madvise", "limits.sh"),
        *("stress/hugetlb_128_more", "limits.sh/smoke", "unheard-of"),
    ]
    smoke = names["limits.sh/smoke"]
    assert (smoke.arguments, smoke.user) == (("smoke",), "nobody")


def test_tests_that_are_silently_never_run_are_found() -> None:
    assert kselftest.findings(COLLECTION, tree()) == (
        "run_vmtests.sh runs, and the Makefile does not build or list: gone",
        "the Makefile lists, and run_vmtests.sh does not run: madvise, unheard-of",
        "neither the Makefile lists nor run_vmtests.sh runs: lost-too.c, lost.c, silent.sh",
    )


def test_a_tree_whose_runner_is_unknown_has_no_findings() -> None:
    assert kselftest.findings(COLLECTION, NEW) == ()


def test_a_test_becomes_a_probe_that_the_guests_script_prepares() -> None:
    test = COLLECTION.test[-1]
    spec = kselftest.probe("mm", COLLECTION, test)
    assert spec.name == "kselftest/mm/limits.sh"
    assert spec.arguments == (
        *("/probes/kselftest/mm", "--need", "/dev/x", "CONFIG_X"),
        *("--set", "vm.overcommit_memory", "1", "--user", "65534"),
        *("--", "./limits.sh"),
    )
    assert (spec.rules, spec.budget, spec.nodes, spec.unmet) == ("kselftest", 120, 2, "")
    assert spec.wants_disk
    assert (catalog.PROBES / spec.source).is_file()
    cow = kselftest.probe("mm", COLLECTION, COLLECTION.test[0], "does not compile: x")
    words = ("--pool", "2", "128", "--swap", "--", "./cow")
    assert cow.arguments == ("/probes/kselftest/mm", *words)
    assert (cow.budget, cow.unmet) == (60, "does not compile: x")


@pytest.mark.parametrize(
    ("requests", "wanted"),
    [
        (["mm"], {"mm": ["*"]}),
        (["mm:cow", "mm:stress/*"], {"mm": ["cow", "stress/*"]}),
        ([], {}),
    ],
)
def test_requests(requests: list[str], wanted: dict[str, list[str]]) -> None:
    assert kselftest.parse(requests, {"mm": COLLECTION}) == wanted


@pytest.mark.parametrize(
    ("asked", "said"), [("mn", "no collection 'mn'"), ("mm:", "has no test after its colon")]
)
def test_requests_that_make_no_sense(asked: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        kselftest.parse([asked], {"mm": COLLECTION})


def test_an_image_has_no_source_to_build_tests_from() -> None:
    with pytest.raises(SpecError, match="does not have"):
        selftests.require_source(["mm"], "image:/boot/vmlinuz")
    selftests.require_source(["mm"], "debian:linux-source-6.12")
    selftests.require_source([], "image:/boot/vmlinuz")


def test_the_table_that_is_shipped() -> None:
    collection = kselftest.load()["mm"]
    assert len({(t.name, t.directory) for t in collection.test}) == len(collection.test)
    assert not set(collection.helpers) & {test.program for test in collection.test}
    for test in collection.test:
        assert kselftest.probe("mm", collection, test).budget >= 30


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[collection.mm]\n", "missing required field"),
        ("collection = 3\n", "Expected `object`"),
        ("\x00", "Invalid"),
    ],
)
def test_a_damaged_table(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "kselftest.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=said):
        kselftest.load(path)


def test_two_entries_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "kselftest.toml"
    entry = '[[collection.mm.test]]\nprogram = "cow"\n'
    head = '[collection.mm]\ndirectories = ["mm"]\nsources = []\nmemory = "1G"\nbudget = 1\n'
    path.write_text(head + entry + entry)
    with pytest.raises(SpecError, match="two tests 'cow'"):
        kselftest.load(path)
