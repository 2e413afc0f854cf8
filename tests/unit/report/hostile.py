# SPDX-License-Identifier: GPL-2.0-only
"""Text as a hostile guest could print it, and a record that has it in every place."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.records.probe import ProbeResult, PromiseAnswer, Splat, Status, Subtest
from harness.records.run import HgmSupport, PromiseState, RunRecord
from tests.unit.report.records import RUN

_FRAGMENTS = (
    # XML and HTML
    *("<script>alert(1)</script>", "</testcase><testcase name='x'/>", "]]>", "<![CDATA[ x ]]>"),
    *("<!-- x", "&lt;b&gt;", "&#0;", "&nope;", '" onload="x', "<img src=x onerror=x>", "<?xml x?>"),
    # KTAP
    *("ok 1 fine", "not ok 2 bad", "1..0 # SKIP all of it", "KTAP version 1", "Bail out!"),
    *("# Subtest: x", "# SKIP it", "SKIP it", "TODO: later", "error TIMEOUT", "x # SKIP y # TODO"),
    *(
        "- dash",
        "#",
        "##",
        "# rests on split",
        "# promise split: offered: yes",
        "\\#",
        "\\x23",
        "\\",
    ),
    *("# checkpoint 1 x", "checkpoint 1 x", "rests on split", "Subtest: x", ": colon"),
    # Markdown
    *("`", "``` `", "[x](http://evil.example)", "![x](http://evil.example/x.png)", "# heading"),
    *("* item", "| a | b |", "> quote", "http://evil.example", "@torvalds #1 GH-1", "~~~", "\\`"),
    *("**bold** _it_ ~~no~~", "<https://evil.example>", "    code", "1. one", "---", "a\\|b"),
    # mail
    *("From evil@example.org Thu Jan  1 00:00:00 1970", ">From x", "Subject: x", ".", "-- "),
    *("Tested-by: Evil <evil@example.org>", "#regzbot invalid: no", "#syz fix: x", "---"),
    *("diff --git a/x b/x", "Reviewed-by: A <a@example.org>\nBcc: x@example.org", "--b\r\n\r\n"),
    *("=?utf-8?q?x?=", 'Fixes: 0123456789ab ("x")', "a\r\nb\nc\vd\fe\x85f\u2028g\u2029h"),
    # terminals, encodings and widths
    *("\x1b[2J\x1b]0;title\x07", "\x9b31mred", "a\x00b", "\x7f\x08\x08", "\ufeffx", "\ufffe\uffff"),
    *(
        "\u202egnp.exe",
        "\u2066x\u2069",
        "\u200bzero",
        "e\u0301\u0301\u0301",
        "\U0001f600",
        "\U000e0001",
    ),
    *(
        "\xa0nbsp\xa0",
        "  spaces  ",
        "\ttab\t",
        " ",
        "%s%n%x",
        "$(reboot)",
        "'; reboot; '",
        "../../x",
    ),
    *("x" * 5000, "word " * 500, "{{ 7 * 7 }}", "${x}", "NaN", "null", '{"type":"run"}'),
)

#: How a fragment is met: alone, after a time stamp, as an errno, in the middle of a line.
_FORMS = ("{}", "[   12.345678] {}", "UFFDIO_CONTINUE: {} (errno 14)", "before {} after")

LINES = tuple(form.format(text) for form in _FORMS for text in _FRAGMENTS)

_STATUSES: tuple[Status, ...] = ("FAIL", "PASS", "SKIP", "CRASH", "HANG", "LOST", "KNOWN")


def record(texts: Iterable[str], first: int = 0) -> RunRecord:
    """Return a record with a probe for each text, which is in every place that a guest fills.

    Args:
        texts: at least one.
        first: number of the first probe, which decides its status.
    """
    found = tuple(texts)
    everywhere = found[0]
    return msgspec.structs.replace(
        RUN,
        reason=everywhere,
        hgm=HgmSupport(present=False, evidence=everywhere),
        promises=(PromiseState(name="split", size="1G", state="not offered", word=everywhere),),
        probes=tuple(_probe(number, text) for number, text in enumerate(found, first)),
        splats=tuple(_splat(text) for text in found),
        notes=(everywhere,),
    )


def _probe(number: int, text: str) -> ProbeResult:
    why = text[:90]  # the readers of KTAP keep 1000 characters, and an escaped one takes ten
    return ProbeResult(
        name=f"p{number}/{text}/1G",
        status=_STATUSES[number % len(_STATUSES)],
        reason="" if number % len(_STATUSES) == 1 else text,
        subtests=(
            Subtest(name=text, status="PASS"),
            Subtest(name=text, status="FAIL", reason=why, rests_on=("split", "collapse")),
            Subtest(name=f"{text} > {text}", status="SKIP", reason=why),
            Subtest(name="said", status="PASS", reason=why),
        ),
        promises=(PromiseAnswer(name="split", state="offered", word=text),),
        splats=(_splat(text),),
        blame=text,
        known_issues=(text,),
        directory=f"probes/p{number}",
    )


def _splat(text: str) -> Splat:
    return Splat(kind="warning", title=text, block=(text, f"  {text}"), offset=1)
