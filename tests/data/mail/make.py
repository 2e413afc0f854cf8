#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Writes the mailboxes beside it: `python tests/data/mail/make.py`; a test sees that it was run.

All are put on the toy tree of tests/component/kernel/conftest.py, whose mm/hugetlb.c is forty lines
``int line_N;``. What each is to end in says tests/component/kernel/test_mail_corpus.py.
"""

from __future__ import annotations

import base64
import gzip
import io
import quopri
import sys
from pathlib import Path

FIRST = """\
diff --git a/mm/hugetlb.c b/mm/hugetlb.c
--- a/mm/hugetlb.c
+++ b/mm/hugetlb.c
@@ -1,4 +1,4 @@
 int line_1;
-int line_2;
+int two;
 int line_3;
 int line_4;
@@ -30,4 +30,5 @@ int line_29;
 int line_30;
 int line_31;
+int more; /* = */
 int line_32;
 int line_33;
"""
SECOND = """\
diff --git a/mm/hugetlb.c b/mm/hugetlb.c
--- a/mm/hugetlb.c
+++ b/mm/hugetlb.c
@@ -1,3 +1,3 @@
 int line_1;
-int two;
+int zwei;
 int line_3;
diff --git a/mm/new.c b/mm/new.c
new file mode 100644
--- /dev/null
+++ b/mm/new.c
@@ -0,0 +1,2 @@
+int new;
+int newer;
"""
OTHER = """\
diff --git a/mm/other.c b/mm/other.c
--- a/mm/other.c
+++ b/mm/other.c
@@ -1 +1 @@
-int other;
+int changed;
"""
STAT = "---\n mm/hugetlb.c | 3 ++-\n 1 file changed, 2 insertions(+), 1 deletion(-)\n\n"
SIGNATURE = "-- \n2.39.5\n\n"
FROM_LINE = b"From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n"


def mail(
    subject: str,
    body: str | bytes,
    own: str = "",
    parent: str = "",
    extra: str = "",
    *,
    from_line: bool = True,
) -> bytes:
    """Return one message as an mbox holds it."""
    head = f"From: A Developer <a@example.org>\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n{extra}"
    head += f"Subject: {subject}\n"
    if own:
        head += f"Message-ID: <{own}@example.org>\n"
    if parent:
        head += f"In-Reply-To: <{parent}@example.org>\n"
    raw = body if isinstance(body, bytes) else body.encode()
    return (FROM_LINE if from_line else b"") + head.encode() + b"\n" + raw + b"\n"


def patch(
    number: int, diff: str, tag: str = "PATCH", total: int = 2, own: str = "", parent: str = ""
) -> bytes:
    """Return one part of a series as git send-email writes it."""
    own = own or f"p{number}"
    body = f"Why it is done.\n\nSigned-off-by: A Developer <a@example.org>\n{STAT}{diff}{SIGNATURE}"
    return mail(f"[{tag} {number}/{total}] mm: part {number}", body, own, parent or "cover")


COVER = mail("[PATCH 0/2] mm: a series", f"What it is for.\n{SIGNATURE}", "cover")
ONE, TWO = patch(1, FIRST), patch(2, SECOND)


def alone(diff: str) -> bytes:
    """Return a mailbox of one patch."""
    return patch(1, diff, total=1, parent="none")


def encoded(number: int, diff: str, how: str, subject: str = "") -> bytes:
    """Return a part whose body is quoted-printable or base64."""
    body = f"Why: \u00fcber, \u2026\n{STAT}{diff}{SIGNATURE}".encode()
    raw = quopri.encodestring(body) if how == "quoted-printable" else base64.encodebytes(body)
    extra = 'MIME-Version: 1.0\nContent-Type: text/plain; charset="utf-8"\n'
    extra += f"Content-Transfer-Encoding: {how}\n"
    return mail(subject or f"[PATCH {number}/2] mm: part {number}", raw, f"p{number}", extra=extra)


def attached(number: int, diff: str) -> bytes:
    """Return a part whose patch is a base64 attachment with a hostile file name."""
    data = base64.encodebytes(diff.encode()).decode()
    body = (
        "--b\nContent-Type: text/plain\n\nIt is attached.\n\n--b\n"
        'Content-Type: text/x-patch; name="../../evil.patch"\nContent-Transfer-Encoding: base64\n'
        'Content-Disposition: attachment; filename="/etc/evil.patch"\n\n'
        f"{data}\n--b--\n"
    )
    extra = 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n'
    return mail(f"[PATCH {number}/2] mm: part {number}", body, f"p{number}", extra=extra)


def with_html(number: int, diff: str) -> bytes:
    """Return a part with an HTML twin."""
    body = (
        f"--b\nContent-Type: text/plain; charset=utf-8\n\nWhy.\n{STAT}{diff}{SIGNATURE}\n--b\n"
        "Content-Type: text/html; charset=utf-8\n\n<p>Why.</p>\n\n--b--\n"
    )
    extra = 'MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary="b"\n'
    return mail(f"[PATCH {number}/2] mm: part {number}", body, f"p{number}", extra=extra)


def packed(data: bytes) -> bytes:
    """Return gzip's format with the header that every version of Python writes."""
    out = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=0) as file:
        file.write(data)
    return out.getvalue()


def creates(path: str, text: str = "int added;", mode: str = "100644") -> str:
    """Return the diff of a new file of one line."""
    return (
        f"diff --git a/{path} b/{path}\nnew file mode {mode}\n--- /dev/null\n+++ b/{path}\n"
        f"@@ -0,0 +1 @@\n+{text}\n"
    )


def links(path: str, target: str) -> str:
    """Return the diff of a new symbolic link."""
    return creates(path, target, "120000") + "\\ No newline at end of file\n"


REPLY = mail("Re: [PATCH 1/2] mm: part 1", "Reviewed-by: B <b@example.org>\n", "r1", "p1")
QUOTE = mail(
    "Re: [PATCH 2/2] mm: part 2",
    "".join(f"> {line}\n" for line in SECOND.splitlines()) + "\nThis looks wrong.\n",
    "r2",
    "p2",
)
WITH_DIFF = mail("Re: [PATCH 1/2] mm: part 1", f"Rather so:\n\n{OTHER}", "r3", "p1")
BINARY = """\
diff --git a/logo.bin b/logo.bin
new file mode 100644
index 0000000000000000000000000000000000000000..eaf36c1daccfdf325514461cd1a2ffbc139b5464
GIT binary patch
literal 4
LcmZQzWMT#Y01f~L

literal 0
HcmV?d00001

"""

BOXES: dict[str, bytes] = {
    "in-order.mbox": COVER + ONE + TWO,
    "wrong-order.mbox": TWO + COVER + ONE,
    "no-cover.mbox": ONE + TWO,
    "replies-and-trailers.mbox": COVER + ONE + REPLY + QUOTE + TWO,
    "reply-with-a-diff.mbox": COVER + WITH_DIFF + ONE + TWO,
    "reply-without-re.mbox": COVER
    + ONE
    + TWO
    + mail("[PATCH] mm: a fix for part 1", f"{STAT}{OTHER}", "fix", "p1"),
    "question-with-a-diff.mbox": COVER + ONE + TWO + mail("how about this?", OTHER, "q"),
    "cover-with-an-interdiff.mbox": mail("[PATCH v2 0/2] mm: x", f"Since v1:\n{OTHER}", "c")
    + patch(1, FIRST, "PATCH v2")
    + patch(2, SECOND, "PATCH v2"),
    "same-mail-twice.mbox": COVER + ONE + TWO + ONE,
    "quoted-printable.mbox": encoded(2, SECOND, "quoted-printable")
    + encoded(1, FIRST, "quoted-printable"),
    "base64.mbox": encoded(1, FIRST, "base64") + encoded(2, SECOND, "base64"),
    "base64-of-crlf.mbox": encoded(1, FIRST.replace("\n", "\r\n"), "base64")
    + encoded(2, SECOND.replace("\n", "\r\n"), "base64"),
    "encoded-folded-subject.mbox": encoded(
        1, FIRST, "base64", "=?utf-8?q?=5BPATCH_1/2=5D_mm=3A_p?=\n =?utf-8?q?art_=C3=BC?="
    )
    + TWO,
    "folded-headers.mbox": (ONE + TWO).replace(b"[PATCH 1/2] mm:", b"[PATCH\n 1/2]\n\tmm:"),
    "crlf.mbox": (COVER + ONE + TWO).replace(b"\n", b"\r\n"),
    "latin1.mbox": mail(
        "[PATCH 1/1] mm: part 1",
        creates("mm/latin1.c", "/* M\u00fcller */").encode("latin-1"),
        extra="MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\n"
        "Content-Transfer-Encoding: 8bit\n",
    ),
    "no-diffstat.mbox": mail("[PATCH 1/2] mm: part 1", FIRST) + mail("[PATCH 2/2] b", SECOND),
    "bare.eml": mail("[PATCH] mm: part 1", f"{STAT}{FIRST}", from_line=False),
    "plain.diff": FIRST.encode(),
    "from-lines-in-bodies.mbox": COVER.replace(b"What", b"\n>From here on:\n>>From there.\nWhat")
    + ONE
    + TWO,
    "flowed.mbox": mail(
        "[PATCH 1/1] mm: part 1",
        "Why.\n"
        + STAT
        + "".join(f" {x}\n" if x[:1] == " " else f"{x}\n" for x in FIRST.splitlines()),
        extra="MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8; format=flowed\n",
    ),
    "attachment.mbox": attached(1, FIRST) + attached(2, SECOND),
    "with-html.mbox": with_html(1, FIRST) + TWO,
    "packed.mbox.gz": packed(COVER + ONE + TWO),
    "nested-v1-v2.mbox": COVER
    + ONE
    + patch(2, OTHER)
    + mail("[PATCH v2 0/2] mm: a series", "Again.\n", "c2", "cover")
    + patch(1, FIRST, "PATCH v2", own="v2p1", parent="c2")
    + patch(2, SECOND, "PATCH v2", own="v2p2", parent="c2"),
    "v3-incomplete.mbox": COVER + ONE + TWO + patch(2, SECOND, "PATCH v3", own="v3p2"),
    "resend.mbox": patch(1, OTHER, own="old1")
    + patch(2, OTHER, own="old2")
    + patch(1, FIRST, "PATCH RESEND")
    + patch(2, SECOND, "PATCH RESEND"),
    "two-series.mbox": COVER
    + ONE
    + TWO
    + mail("[PATCH v2 1/1] net: x", OTHER, "n1").replace(b"mm:", b"net:"),
    "missing-part.mbox": patch(1, FIRST, total=3) + patch(3, SECOND, total=3),
    "doubled-part.mbox": ONE + TWO + patch(2, OTHER, own="again"),
    "foreign-part.mbox": ONE + TWO + patch(4, OTHER, total=7, own="foreign", parent="elsewhere"),
    "changed-copy.mbox": ONE + TWO + patch(1, OTHER),
    "only-a-cover.mbox": COVER,
    "only-replies.mbox": REPLY + QUOTE + WITH_DIFF,
    "empty.mbox": b"",
    "blank.mbox": b"\n\n",
    "no-mail.mbox": bytes(range(256)) * 8,
    "cut-gzip.mbox.gz": packed(COVER + ONE + TWO)[:-40],
    "corrupt-hunk.mbox": alone(FIRST.replace("@@ -1,4 +1,4 @@", "@@ -1,9 +1,9 @@")),
    "truncated.mbox": alone(FIRST)[: -len(SIGNATURE) - 40],
    "wrapped-lines.mbox": alone(FIRST.replace("+int more;", "+int\nmore;")),
    "tabs-lost.mbox": alone(FIRST.replace(" int line_1;", " int  line_1;")),
    "other-base.mbox": alone(FIRST.replace("int line_31", "int lane_31")),
    "offset.mbox": alone(FIRST.replace("-30,4 +30,5", "-27,4 +27,5")),
    "fuzz.mbox": alone(FIRST.replace("int line_30;\n int line_31", "int lane_30;\n int line_31")),
    "absent-file.mbox": alone(FIRST.replace("mm/hugetlb.c", "mm/absent.c")),
    "climbs-out.mbox": alone(creates("../evil.c")),
    "climbs-out-inside.mbox": alone(creates("mm/../../evil.c")),
    "good-and-climbing.mbox": alone(FIRST + creates("../evil.c")),
    "renames-out.mbox": alone(
        "diff --git a/mm/other.c b/../evil.c\nsimilarity index 100%\n"
        "rename from mm/other.c\nrename to ../evil.c\n"
    ),
    "deletes-outside.mbox": alone(
        "diff --git a/../victim b/../victim\ndeleted file mode 100644\n--- a/../victim\n"
        "+++ /dev/null\n@@ -1 +0,0 @@\n-precious\n"
    ),
    "absolute-path.mbox": alone(
        creates("X").replace("a/X", "/etc/evil").replace("b/X", "/etc/evil")
    ),
    "git-directory.mbox": alone(creates(".git/hooks/post-checkout", "#!/bin/sh", "100755")),
    "git-directory-cased.mbox": alone(creates("mm/.GIT/config")),
    "link-to-etc.mbox": alone(links("Documentation/passwd", "/etc/passwd")),
    "link-climbs.mbox": alone(links("mm/up", "../../victim")),
    "link-climbs-through-link.mbox": alone(links("here", ".") + links("out", "here/../victim")),
    "link-retargeted.mbox": alone(
        "--- a/mm/link.c\n+++ b/mm/link.c\n@@ -1 +1 @@\n-other.c\n\\ No newline at end of file\n"
        "+/etc/passwd\n\\ No newline at end of file\n"
    ),
    "link-inside.mbox": alone(links("mm/up", "../Makefile")),
    "through-a-new-link.mbox": patch(1, links("up", "..")) + patch(2, creates("up/evil.c")),
    "through-an-old-link.mbox": alone(creates("mm/link.c/evil.c")),
    "submodule.mbox": alone(
        creates("sub", "Subproject commit 0123456789012345678901234567890123456789", "160000")
    ),
    "hooks-twice.mbox": patch(1, creates("hooks/post-checkout", "one"))
    + patch(2, creates("hooks/post-checkout", "two")),
    "binary.mbox": alone(BINARY),
    "binary-without-data.mbox": alone(
        "diff --git a/logo.bin b/logo.bin\nindex 0123456..789abcd 100644\n"
        "Binary files a/logo.bin and b/logo.bin differ\n"
    ),
    "modes-and-renames.mbox": alone(
        "diff --git a/scripts/run.sh b/scripts/go.sh\nold mode 100755\nnew mode 100644\n"
        "similarity index 100%\nrename from scripts/run.sh\nrename to scripts/go.sh\n"
    ),
    "escape-codes.mbox": ONE.replace(b"mm: part", b"\x1b[2J\x1b]0;evil\x07 part") + TWO,
    "nul-bytes.mbox": ONE.replace(b"Why it", b"Why\x00it") + TWO,
    "bogus-charset.mbox": COVER
    + ONE
    + mail(
        "[PATCH 2/2] =?no-such-charset?q?b?=",
        SECOND,
        extra="MIME-Version: 1.0\nContent-Type: text/plain; charset=no-such-charset\n",
    ),
}


def write(directory: Path) -> None:
    """Write every mailbox."""
    for name, data in BOXES.items():
        (directory / name).write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
