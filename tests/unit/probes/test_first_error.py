# SPDX-License-Identifier: GPL-2.0-only
"""Of all that a compiler says, people are shown the first error."""

import pytest

from harness.probes.compile import first_error

COMPILER = """\
In file included from x.c:3:
x.h:9:1: note: declared here
c/x.c:12:5: error: 'foo' undeclared (first use in this function)
c/x.c:13:5: error: 'bar' undeclared
"""


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (COMPILER, "c/x.c:12:5: error: 'foo' undeclared (first use in this function)"),
        (
            "x.c:1:10: fatal error: y.h: No such file or directory\ncompilation terminated.\n",
            "x.c:1:10: fatal error: y.h: No such file or directory",
        ),
        (
            "/usr/bin/ld: /tmp/c.o: in function `main':\n"
            "x.c:(.text+0x5): undefined reference to `gone'\n"
            "collect2: error: ld returned 1 exit status\n",
            "x.c:(.text+0x5): undefined reference to `gone'",
        ),
        ("gcc: internal trouble\n\n", "gcc: internal trouble"),
        ("", "the compiler printed nothing"),
    ],
)
def test_first_error(output: str, line: str) -> None:
    assert first_error(output) == line
