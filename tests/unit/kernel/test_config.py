# SPDX-License-Identifier: GPL-2.0-only
"""Why a requested symbol is missing, for Kconfig files of every age."""

from pathlib import Path

import pytest

from harness.kernel import config

KCONFIG = """\
config MODULES
\tbool "Modules"
\tmodules

config A
\tbool "A"

config B
\tdef_bool y

config OLD
\tbool
\ttransitional

config NEEDED
\tbool "Needed"
\tdepends on A && B

config ONLY_WITH_B
\tbool "Only with B"
\tdepends on A if B # a comment with an if B

config LONG
\tbool "Long"
\tdepends on A \\
\t\tif B

config HIDDEN
\tbool

config ONE_OF
\tbool "Visible" if A
"""


def explained(room: Path, symbol: str, kconfig: str = KCONFIG) -> dict[str, str]:
    (room / "Kconfig").write_text(kconfig)
    (room / ".config").write_text("CONFIG_B=y\n")
    return config.explain([symbol], room / ".config", room, {})


@pytest.mark.parametrize(
    ("symbol", "reason"),
    [
        ("NEEDED", "became n: needs A(=n)"),
        ("ONLY_WITH_B", "became n: needs A(=n) || !B(=y)"),
        ("LONG", "became n: needs A(=n) || !B(=y)"),
        ("ONE_OF", "became n: can only be chosen with A(=n)"),
        (
            "HIDDEN",
            "became n: has no prompt; only another symbol's `select` or its default can set it",
        ),
    ],
)
def test_reason_is_the_unmet_dependency(tmp_path: Path, symbol: str, reason: str) -> None:
    assert explained(tmp_path, symbol) == {symbol: reason}


def test_symbol_of_another_architecture_has_no_reason(tmp_path: Path) -> None:
    assert explained(tmp_path, "ARM64_MTE") == {}


def test_syntax_that_is_newer_than_kconfiglib_is_no_internal_error(tmp_path: Path) -> None:
    newer = f"{KCONFIG}\nconfig NEWER\n\tbool\n\tunheard of\n"
    found = explained(tmp_path, "NEEDED", newer)["NEEDED"]
    assert found.startswith("became n: the reason is unknown, kconfiglib fails: Kconfig:")
    assert "\n" not in found
