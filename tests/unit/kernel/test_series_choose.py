# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest

from harness.errors import SeriesError
from harness.kernel.series.choose import Chosen, choose
from harness.kernel.series.mail import Mail, Place, parse_subject

DIFF = b"diff --git a/x b/x\n"


def mail(subject: str, patch: bytes = DIFF, own: str = "", parents: tuple[str, ...] = ()) -> Mail:
    place = Place(message_id=own, parents=parents)
    return Mail(subject=parse_subject(subject), place=place, patch=patch)


def names(chosen: Chosen) -> list[str]:
    return [patch.name for patch in chosen.patches]


def test_mails_are_ordered_by_number() -> None:
    mails = [
        mail("[PATCH v2 2/10] b"),
        mail("[PATCH v2 0/10] cover", b""),
        *(mail(f"[PATCH v2 {n:02}/10] x{n}") for n in range(10, 2, -1)),
        mail("Re: [PATCH v2 1/10] a"),
        mail("[PATCH v2 1/10] a"),
    ]
    chosen = choose(mails, "box")
    assert names(chosen)[:3] == ["[PATCH v2 1/10] a", "[PATCH v2 2/10] b", "[PATCH v2 03/10] x3"]
    assert [patch.number for patch in chosen.patches] == list(range(1, 11))
    assert chosen.notes == ()


def test_mails_without_numbers_stay_as_they_came() -> None:
    assert names(choose([mail("[PATCH] b"), mail("[PATCH] a")], "box")) == [
        "[PATCH] b",
        "[PATCH] a",
    ]
    assert names(choose([mail("mm: b"), mail("mm: a")], "box")) == ["mm: b", "mm: a"]


def test_cover_letter_with_a_diff_is_not_a_patch() -> None:
    cover = mail("[PATCH v2 0/1] cover", b"diff --git a/interdiff b/x\n")
    assert names(choose([cover, mail("[PATCH v2 1/1] a")], "box")) == ["[PATCH v2 1/1] a"]


def test_newest_revision_is_taken_with_a_note() -> None:
    mails = [
        mail("[PATCH 1/2] a"),
        mail("[PATCH v3 1/1] a", own="new"),
        mail("[PATCH 2/2] b"),
        mail("[PATCH v2 1/1] a"),
    ]
    chosen = choose(mails, "box")
    assert names(chosen) == ["[PATCH v3 1/1] a"]
    assert chosen.notes == ("v3 (1 patch) is taken; also there: v1 (2 patches), v2 (1 patch)",)


def test_resend_is_newer_than_what_it_repeats() -> None:
    chosen = choose([mail("[PATCH RESEND 1/1] a"), mail("[PATCH 1/1] a")], "box")
    assert names(chosen) == ["[PATCH RESEND 1/1] a"]


def test_message_id_chooses_the_revision() -> None:
    mails = [
        mail("[PATCH 0/1] c", b"", own="c1"),
        mail("[PATCH 1/1] a", own="p1", parents=("c1",)),
        mail("[PATCH v2 0/1] c", b"", own="c2", parents=("c1",)),
        mail("[PATCH v2 1/1] a", own="p2", parents=("c2", "c1")),
        mail("Re: [PATCH 1/1] a", own="answer", parents=("p1",)),
    ]
    for message_id in ("c1", "p1"):
        assert names(choose(mails, "box", message_id)) == ["[PATCH 1/1] a"]
    for message_id in ("c2", "p2", "answer"):
        assert names(choose(mails, "box", message_id)) == ["[PATCH v2 1/1] a"]
    with pytest.raises(SeriesError, match="no mail with the Message-ID <p3>"):
        choose(mails, "box", "p3")


def test_the_mail_to_reply_to_is_the_cover_letter_or_else_the_first_patch() -> None:
    cover = mail("[PATCH v2 0/2] c", b"", own="c", parents=("old",))
    others = [mail("[PATCH 0/2] c", b"", own="old"), mail("Re: [PATCH v2 0/2] c", b"", own="r")]
    parts = [
        mail("[PATCH v2 1/2] a", own="a", parents=("c",)),
        mail("[PATCH v2 2/2] b", own="b", parents=("c",)),
    ]
    chosen = choose([*others, cover, *parts], "box", "b")
    assert (chosen.message_id, chosen.subject) == ("c", "[PATCH v2 0/2] c")
    assert [patch.message_id for patch in chosen.patches] == ["a", "b"]
    chosen = choose(parts, "box")
    assert (chosen.message_id, chosen.subject) == ("a", "[PATCH v2 1/2] a")


def test_message_id_leaves_other_series_of_the_thread_out() -> None:
    mails = [
        mail("[PATCH 0/2] ours", b"", own="c"),
        mail("[PATCH 1/2] a", own="a", parents=("c",)),
        mail("[PATCH 2/2] b", own="b", parents=("c",)),
        mail("[PATCH] a fix", own="f", parents=("a", "c")),
        mail("Re: [PATCH 2/2] b", b"", own="answer", parents=("b", "c")),
        mail("[PATCH 1/2] theirs", own="t1", parents=("answer", "b", "c")),
        mail("[PATCH 2/2] theirs", own="t2", parents=("t1", "answer", "c")),
        mail("[PATCH 1/5] others", own="o", parents=("answer", "c")),
    ]
    chosen = choose(mails, "box", "b")
    assert names(chosen) == ["[PATCH 1/2] a", "[PATCH 2/2] b"]
    left_out = ["[PATCH] a fix", "[PATCH 1/2] theirs", "[PATCH 2/2] theirs", "[PATCH 1/5] others"]
    assert chosen.notes == tuple(f"left out: {s!r} is not part of the series" for s in left_out)
    assert names(choose(mails, "box", "t2")) == ["[PATCH 1/2] theirs", "[PATCH 2/2] theirs"]


def test_patch_without_a_number_named_by_its_message_id_is_taken_alone() -> None:
    mails = [
        mail("[PATCH 1/1] a", own="a"),
        mail("[PATCH] a fix", own="f", parents=("a",)),
        mail("[PATCH] another", own="g", parents=("a",)),
    ]
    assert names(choose(mails, "box", "f")) == ["[PATCH] a fix"]


def test_parts_without_a_thread_are_found_by_their_numbers() -> None:
    mails = [mail("[PATCH 1/2] a", own="a"), mail("[PATCH 2/2] b", own="b")]
    assert len(choose(mails, "box", "b").patches) == 2


def test_same_mail_twice_counts_once() -> None:
    mails = [mail("[PATCH 1/1] a", own="a"), mail("[PATCH 1/1] a", own="a")]
    assert len(choose(mails, "box").patches) == 1
    with pytest.raises(SeriesError, match="two different mails with the Message-ID <a>"):
        choose([mails[0], mail("[PATCH 1/1] a", b"diff --git a/y b/y\n", own="a")], "box")


def test_patch_in_reply_is_left_out_with_a_note() -> None:
    mails = [mail("[PATCH 1/1] a", own="a"), mail("[PATCH] fix", own="f", parents=("a",))]
    chosen = choose(mails, "box")
    assert names(chosen) == ["[PATCH 1/1] a"]
    assert chosen.notes == ("left out: '[PATCH] fix' replies to the series",)


def test_diff_without_a_tag_is_left_out_with_a_note() -> None:
    chosen = choose([mail("[PATCH 1/1] a"), mail("a question")], "box")
    assert names(chosen) == ["[PATCH 1/1] a"]
    assert chosen.notes == ("left out: 'a question' has a diff and no [PATCH]",)


@pytest.mark.parametrize(
    ("subjects", "expected"),
    [
        (["[PATCH 1/3] a", "[PATCH 3/3] c"], "lacks patch 2 of 3"),
        (["[PATCH 2/9999] a"], "lacks patch 1, 3-9999 of 9999"),
        (["[PATCH v2 1/2] a", "[PATCH 1/2] a", "[PATCH 2/2] b"], "lacks patch 2 of 2 of v2"),
        (["[PATCH 1/2] a", "[PATCH 2/2] b", "[PATCH 2/2] c"], "has patch 2 of 2 twice: 'b and c'"),
        (["[PATCH 1/2] a", "[PATCH 2/2] b", "[PATCH 3/2] c"], "has patch 3 of 2"),
        (["[PATCH 1/2] a", "[PATCH 2/2] b", "[PATCH 4/7] z"], r"another series: '\[PATCH 4/7\] z'"),
        (["[PATCH 1/2] a", "[PATCH 2/2] b", "[PATCH] z"], r"another series: '\[PATCH\] z'"),
        (["[PATCH 1/1] a", "[PATCH v2 1/1] z"], r"has two series: '\[PATCH v2 1/1\] z'"),
        (["[PATCH 1/2] a", "[PATCH 2/2] b", "[PATCH v2] a"], "without an n/m"),
        (["Re: [PATCH] a"], "has no patches"),
        ([], "has no patches"),
    ],
)
def test_an_incomplete_series_is_refused(subjects: list[str], expected: str) -> None:
    with pytest.raises(SeriesError, match=expected):
        choose([mail(subject) for subject in subjects], "box")


def test_hint_for_a_thread_without_its_patches() -> None:
    with pytest.raises(SeriesError) as refused:
        choose([mail("[PATCH 0/2] cover", b"")], "box")
    assert "have no diff" in refused.value.hint
