# SPDX-License-Identifier: GPL-2.0-only
"""Why a symbol has its value, and a requested one is missing, for Kconfig files of every age."""

from pathlib import Path

import pytest

from harness.arch import arch
from harness.deadline import Deadline
from harness.errors import SpecError
from harness.kernel import kconfig as model
from harness.kernel.fragments import ConfigRequest
from harness.kernel.kconfig import SymbolFacts
from harness.kernel.make import Make
from harness.report import symbols

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

config SELECTS
\tbool "Selects"
\tselect HIDDEN if A

config FOLLOWS
\tdef_bool A

config NUMBER
\tint "A number"
\tdefault 7
"""


class _Make(Make):
    """Asks no compiler for its version."""

    def kconfig(self) -> dict[str, str]:
        return {}


def make(room: Path, kconfig: str = KCONFIG) -> Make:
    (room / "Kconfig").write_text(kconfig)
    return _Make(room, room, Deadline.after(60, "the test"), room / "log", room, arch("x86_64"))


def explained(room: Path, symbol: str, kconfig: str = KCONFIG) -> dict[str, str]:
    return model.unmet([symbol], "CONFIG_B=y\n", make(room, kconfig))


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


def facts(room: Path, name: str, text: str, *requests: ConfigRequest) -> SymbolFacts:
    (found,) = model.facts([name], requests, text, make(room))
    return found


REQUEST = ConfigRequest(symbol="A", value="y", where="a.config:3", reason="it is needed")


@pytest.mark.parametrize(
    ("name", "text", "value", "why"),
    [
        ("A", "CONFIG_A=y", "y", "as requested: it is needed"),
        ("A", "", "n", "Kconfig changed its value"),
        ("NEEDED", "CONFIG_B=y", "n", "needs A(=n)"),
        ("NEEDED", "CONFIG_A=y\nCONFIG_B=y", "n", "nothing asks for it"),
        ("NUMBER", "CONFIG_NUMBER=7", "7", "is its default"),
        ("FOLLOWS", "CONFIG_A=y", "y", "is its default: A(=y)"),
        ("HIDDEN", "CONFIG_A=y\nCONFIG_SELECTS=y", "y", "is selected by SELECTS && A"),
        ("HIDDEN", "CONFIG_SELECTS=y", "n", "nothing asks for it"),
    ],
)
def test_a_symbols_value_is_explained(
    tmp_path: Path, name: str, text: str, value: str, why: str
) -> None:
    found = facts(tmp_path, name, text, REQUEST)
    assert (found.value, found.why) == (value, why)


def test_a_symbol_is_shown_with_what_decides_on_it(tmp_path: Path) -> None:
    assert list(symbols.lines([facts(tmp_path, "NEEDED", "CONFIG_B=y")])) == [
        "CONFIG_NEEDED=n: needs A(=n)",
        "  requested    by no fragment",
        "  prompt       Needed",
        "  defined      Kconfig:15",
        "  depends on   A(=n) && B(=y)",
        "  selected by  nothing",
    ]
    found = facts(tmp_path, "HIDDEN", "")
    assert (found.selectors, found.selected, found.prompt) == (1, (), "")
    assert "  selected by  1 symbol, of which none is on" in symbols.lines([found])
    found = facts(tmp_path, "A", "CONFIG_A=y", REQUEST)
    assert (found.asked, found.depends) == ("CONFIG_A=y (a.config:3)", "")


def test_a_symbol_that_does_not_exist_is_an_error_with_close_ones(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as error:
        facts(tmp_path, "NEEDDE", "")
    assert error.value.message == "this kernel has no symbol CONFIG_NEEDDE for x86_64"
    assert error.value.hint == "it has NEEDED"
