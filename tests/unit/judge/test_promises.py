# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from harness.errors import SpecError
from harness.judge import ktap, ktap_document, promises
from harness.probes import promises as table
from harness.records.probe import ProbeResult, PromiseAnswer, Subtest
from harness.records.run import HgmSupport, Profile, PromiseState

OUTPUT = """KTAP version 1
1..3
# promise write-protect-base-pages: not offered: EINVAL
# promise collapse: offered: success
# promise missing-address: broken: ended by SIGALRM
# rests on write-protect-base-pages
ok 1 protects a base page # SKIP not offered: write-protect-base-pages: EINVAL
# rests on collapse
# hgm.c:12: expected 1 entry, found 2
not ok 2 collapses
ok 3 rests on nothing
"""


def probe(name: str, *answers: PromiseAnswer, failed: tuple[str, ...] = ()) -> ProbeResult:
    subtests = (Subtest(name="t", status="FAIL", rests_on=failed),) if failed else ()
    return ProbeResult(name=name, status="PASS", promises=answers, subtests=subtests)


def answer(state: str, name: str = "collapse") -> PromiseAnswer:
    return PromiseAnswer(name=name, state=state, word="w")  # type: ignore[arg-type]


def test_the_answers_of_a_probe_are_read_and_each_result_knows_what_it_rests_on() -> None:
    assert [(each.name, each.state, each.word) for each in promises.answers(OUTPUT)] == [
        ("write-protect-base-pages", "not offered", "EINVAL"),
        ("collapse", "offered", "success"),
        ("missing-address", "broken", "ended by SIGALRM"),
    ]
    subtests = ktap_document.flatten(ktap.parse(OUTPUT))
    assert [each.rests_on for each in subtests] == [
        ("write-protect-base-pages",),
        ("collapse",),
        (),
    ]
    assert subtests[1].reason == "hgm.c:12: expected 1 entry, found 2"


@pytest.mark.parametrize(
    ("probes", "state", "broken_by"),
    [
        ([probe("a/b/1G", answer("offered"))], "kept", ()),
        ([probe("a/b/1G", answer("offered"), failed=("collapse",))], "broken", ("a/b/1G: t",)),
        ([probe("a/b/1G", answer("offered"), failed=("split",))], "kept", ()),
        ([probe("a/b/1G", answer("not offered"))], "not offered", ()),
        ([probe("a/b/1G", answer("broken"))], "broken", ()),
        ([probe("a/b/1G", answer("unknown")), probe("a/c/1G", answer("offered"))], "kept", ()),
        (
            [probe("a/b/1G", answer("offered")), probe("a/b/1G#2", answer("not offered"))],
            "not offered",
            (),
        ),
    ],
)
def test_the_least_favourable_answer_counts(
    probes: list[ProbeResult], state: str, broken_by: tuple[str, ...]
) -> None:
    (found,) = promises.states(probes)
    assert (found.name, found.size, found.state) == ("collapse", "1G", state)
    assert found.broken_by == broken_by


def test_sizes_are_apart() -> None:
    found = promises.states(
        [probe("a/b/1G", answer("offered")), probe("a/b/2M", answer("not offered"))]
    )
    assert [(each.size, each.state) for each in found] == [("1G", "kept"), ("2M", "not offered")]


HGM = HgmSupport(present=True, evidence="MADV_SPLIT: accepted")


@pytest.mark.parametrize(
    ("profile", "hgm", "states", "lines"),
    [
        (Profile(name="p", offers=("split",)), HgmSupport(), [], ["expected a kernel with HGM"]),
        (Profile(name="p", lacks=("split",)), HGM, [], ["expected a kernel without HGM"]),
        (Profile(name="p", offers=("collapse",)), HGM, ["kept"], []),
        (Profile(name="p", offers=("collapse",)), HGM, ["broken"], []),
        (Profile(name="p", offers=("collapse",)), HGM, ["unknown"], []),
        (Profile(name="p", offers=("collapse",)), HGM, [], []),
        (
            Profile(name="p", offers=("collapse",)),
            HGM,
            ["not offered"],
            ["expected p, which offers collapse on huge pages of 2M: EINVAL"],
        ),
        (
            Profile(name="p", lacks=("collapse",)),
            HGM,
            ["kept"],
            ["expected p, which does not offer collapse on huge pages of 2M: EINVAL"],
        ),
    ],
)
def test_a_profile_is_judged_by_what_was_asked(
    profile: Profile, hgm: HgmSupport, states: list[str], lines: list[str]
) -> None:
    found = [
        PromiseState(name="collapse", size="2M", state=state, word="EINVAL")  # type: ignore[arg-type]
        for state in states
    ]
    assert list(promises.unmet(profile, hgm, found)) == lines


@pytest.mark.parametrize(
    ("state", "names"), [("kept", ()), ("not offered", ()), ("unknown", ("collapse",))]
)
def test_what_a_profile_says_and_no_probe_could_ask_is_named(
    state: Literal["kept", "not offered", "unknown"], names: tuple[str, ...]
) -> None:
    found = [PromiseState(name="collapse", size="2M", state=state)]
    profile = Profile(name="p", offers=("split", "collapse"), lacks=("minor-address",))
    assert promises.unanswered(profile, found) == (*names, "minor-address")


def test_our_profiles_name_promises_that_exist() -> None:
    assert [each.name for each in table.profiles()] == [
        "hgm",
        "hgm-v2",
        "hgm-reference",
        "stock",
        "report",
    ]


def test_the_library_in_c_has_the_promises_of_the_table() -> None:
    source = (table.PROBES / "c" / "lib" / "promises.c").read_text()
    for promise in table.load():
        assert f'"{promise.name}"' in source
    assert source.count('] = { "') == len(table.load())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('offers = ["colapse"]', "there is no promise 'colapse'; did you mean collapse?"),
        ('offers = ["split"]\nlacks = ["split"]', "split is in both offers and lacks"),
        ("offer = []", "unknown field `offer`"),
        ("offers = [", "its keys are offers and lacks"),
    ],
)
def test_a_mistake_in_a_profile_of_ones_own_is_said(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        table.profile(str(path))
    assert said in caught.value.line()


def test_a_profile_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(SpecError, match="is not a profile and not a file") as caught:
        table.profile("hmg")
    assert "hgm-v2" in caught.value.line()
