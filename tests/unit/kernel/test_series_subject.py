# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.kernel.series.mail import headers, parse_subject, read_headers, read_place


@pytest.mark.parametrize(
    ("text", "number", "total", "revision", "title"),
    [
        ("[PATCH 3/12] mm: a", 3, 12, 1, "mm: a"),
        ("[PATCH v2 03/12] mm: a", 3, 12, 2, "mm: a"),
        ("[PATCHv4 1/2] a", 1, 2, 4, "a"),
        ("[PATCH V3 1/2] a", 1, 2, 3, "a"),
        ("[RFC PATCH v2 00/46] hugetlb", 0, 46, 2, "hugetlb"),
        ("[RFC v5 1/3] a", 1, 3, 5, "a"),
        ("[PATCH mm-unstable v2 1/3] a", 1, 3, 2, "a"),
        ("[PATCH 6.1 12/64] a", 12, 64, 1, "a"),
        ("[linux-mm] [PATCH 1/2] a", 1, 2, 1, "a"),
        ("[PATCH][v2][1/2] a", 1, 2, 2, "a"),
        ("[v2,1/2] a", 1, 2, 2, "a"),
        ("[RFCv2 1/2] a", 1, 2, 2, "a"),
        ("[PATCH v2-resend 1/2] a", 1, 2, 2, "a"),
        ("[PATCH] mm: use [1/2] of v3", None, None, 1, "mm: use [1/2] of v3"),
        ("[PATCH 5.10/6.1] a", None, None, 1, "a"),
        ("[PATCH v2 1/2]\n\tfolded", 1, 2, 2, "folded"),
    ],
)
def test_tags(text: str, number: int | None, total: int | None, revision: int, title: str) -> None:
    subject = parse_subject(text)
    assert (subject.number, subject.total, subject.revision) == (number, total, revision)
    assert (subject.title, subject.tagged, subject.reply) == (title, True, False)


@pytest.mark.parametrize(
    ("text", "tagged", "reply"),
    [
        ("mm: a", False, False),
        ("[QUESTION] v2 of 1/3", False, False),
        ("[PATCHES] a", True, False),
        ("Re: [PATCH 1/2] a", True, True),
        ("RE: Re: [PATCH] a", True, True),
        ("AW: [PATCH] a", True, True),
        ("Fwd: [PATCH] a", True, True),
        ("[linux-mm] Re: [PATCH] a", True, True),
        ("[PATCH] Re-read the pool", True, False),
        ("", False, False),
    ],
)
def test_patch_or_reply(text: str, tagged: bool, reply: bool) -> None:
    subject = parse_subject(text)
    assert (subject.tagged, subject.reply) == (tagged, reply)


def test_editions_are_ordered() -> None:
    texts = [
        "[PATCH] a",
        "[PATCH RESEND] a",
        "[PATCH v2] a",
        "[PATCH v2 REPOST] a",
        "[PATCH v10] a",
    ]
    editions = [parse_subject(text).edition for text in texts]
    assert editions == sorted(editions)
    assert parse_subject("[PATCH RESEND v2] a").edition_name == "v2 RESEND"


def test_control_characters_of_a_subject_are_removed() -> None:
    text = parse_subject("[PATCH] \x1b[2J\x07evil\u202e\r\n x").text
    assert text == "[PATCH] [2J evil x"


MAIL = (
    b"Message-ID:\n <own@x>\nSubject: =?utf-8?q?=5BPATCH_1/2=5D_m=C3=BC?=\n =?utf-8?q?ll?=\n"
    b"references: <root@x>\n\t<parent@x>\nIn-Reply-To: <parent@x>\n\nMessage-ID: <body@x>\n"
)


@pytest.mark.parametrize("data", [MAIL, MAIL.replace(b"\n", b"\r\n")])
def test_headers_are_unfolded_and_decoded(data: bytes) -> None:
    mail = read_headers(data)
    assert mail.subject.text == "[PATCH 1/2] müll"
    assert mail.message_id == "own@x"
    assert mail.place.parents == ("parent@x", "root@x")


def test_damaged_encodings_are_read_as_far_as_possible() -> None:
    assert read_headers(b"Subject: =?no-such?q?x?=\n\n").subject.text == "x"
    assert read_headers(b"Subject: =?utf-8?b?A?=\n\n").subject.text
    broken = b"=?x?b?A?==?utf-8?b?A?="
    assert read_headers(b"Subject: [PATCH 1/2] " + broken + b"\n\n").subject.number == 1
    assert read_headers("Subject: [PATCH] m\u00fcll\n\n".encode()).subject.title == "m\u00fcll"


@given(st.binary(max_size=300))
def test_any_bytes_are_read(data: bytes) -> None:
    read_headers(data)
    read_headers(b"Subject: " + data)
    read_place(headers(b"References: <" + data))
