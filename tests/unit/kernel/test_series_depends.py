# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import difflib

from hypothesis import given
from hypothesis import strategies as st

from harness.kernel.series.depends import Ported
from harness.kernel.series.diagnosis import FilePatch, parse

PATH = "mm/a.c"
BASE = [f"int line_{number};" for number in range(1, 61)]


def diff(old: list[str], new: list[str], before: str = PATH, after: str = PATH) -> str:
    """Return the patch between two texts of a file; an empty path is /dev/null."""
    names = (f"a/{before}" if before else "/dev/null", f"b/{after}" if after else "/dev/null")
    return "\n".join(difflib.unified_diff(old, new, *names, lineterm="")) + "\n"


def patch(old: list[str], new: list[str]) -> tuple[FilePatch, ...]:
    return parse(diff(old, new))


def changed(lines: list[str], **changes: str) -> list[str]:
    """Return lines with some replaced by others, by more lines, or by none."""
    out: list[str] = []
    for line in lines:
        name = line.removeprefix("int ").removesuffix(";")
        out += changes.get(name, line).splitlines()
    return out


def ported(source: list[str]) -> Ported:
    files = {PATH: "\n".join([*source, ""])}
    return Ported(files.get)


#: The first patch adds a line after 20, removes 24, and has 25 to 27 as context.
ADDS = changed(BASE, line_20="int line_20;\nint added;", line_24="")

#: A source in which the last line of that context is another.
SOURCE = changed(BASE, line_27="int other_27;")


def after_first(source: list[str] = SOURCE) -> Ported:
    files = ported(source)
    first = patch(BASE, ADDS)
    assert files.needed(first) == ()
    files.refuse(1, first)
    return files


def test_a_change_of_an_added_line_depends() -> None:
    second = patch(ADDS, changed(ADDS, added="int again;"))
    assert after_first().needed(second) == (1,)
    assert ported(SOURCE).needed(second) == ()


def test_a_change_beside_an_added_line_depends() -> None:
    assert after_first().needed(patch(ADDS, changed(ADDS, line_18="int again;"))) == (1,)


def test_a_change_around_a_removed_line_depends() -> None:
    less = changed(BASE, line_24="")
    files = ported(SOURCE)
    files.refuse(1, patch(BASE, less))
    assert files.needed(patch(less, changed(less, line_22="int again;"))) == (1,)
    # Its context ends where the removed line was.
    assert files.needed(patch(less, changed(less, line_20="int again;"))) == ()


def test_a_change_elsewhere_does_not_depend() -> None:
    assert after_first().needed(patch(ADDS, changed(ADDS, line_40="int again;"))) == ()


def test_a_change_with_lines_that_the_source_lacks_conflicts_by_itself() -> None:
    # Its context has line 27 as well, which the source has otherwise, ported first patch or not.
    second = patch(ADDS, changed(ADDS, line_25="int again;"))
    assert after_first().needed(second) == ()
    assert after_first(BASE).needed(second) == (1,)


def test_one_hunk_that_conflicts_is_a_conflict() -> None:
    source = changed(SOURCE, line_50="int other_50;")
    second = patch(ADDS, changed(ADDS, added="int again;", line_50="int again_50;"))
    assert after_first(source).needed(second) == ()


def test_the_conflict_is_named_and_not_what_depends_on_it() -> None:
    files = after_first()
    again = changed(ADDS, added="int again;")
    second = patch(ADDS, again)
    files.refuse(2, second, files.needed(second))
    assert files.needed(patch(again, changed(again, again="int third;"))) == (1,)


def test_two_conflicts_are_both_named() -> None:
    both = changed(ADDS, line_40="int line_40;\nint more;")
    files = after_first(changed(SOURCE, line_42="int other_42;"))
    files.refuse(2, patch(ADDS, both))
    needs = files.needed(patch(both, changed(both, added="int x;", line_38="int y;")))
    assert needs == (1, 2)


def test_patches_that_apply_between_are_followed() -> None:
    files = after_first()
    between = changed(ADDS, line_5="int five;\nint and_a_half;")
    files.apply(patch(ADDS, between))
    assert files.needed(patch(between, changed(between, and_a_half="int x;"))) == ()
    assert files.needed(patch(between, changed(between, added="int x;"))) == (1,)


def test_a_removed_line_that_the_source_has_otherwise_is_removed() -> None:
    files = ported(changed(BASE, line_24="int other_24;"))
    files.refuse(1, patch(BASE, ADDS))
    assert files.needed(patch(ADDS, changed(ADDS, line_23="int again;"))) == (1,)


def test_files_that_a_refused_patch_makes_moves_or_deletes() -> None:
    makes = parse(diff([], ["int new;"], before="", after="mm/new.c"))
    changes = parse(diff(["int new;"], ["int newer;"], "mm/new.c", "mm/new.c"))
    moves = parse("diff --git a/mm/a.c b/mm/b.c\nrename from mm/a.c\nrename to mm/b.c\n")
    there = parse(diff(BASE, changed(BASE, line_9="int x;"), "mm/b.c", "mm/b.c"))
    files = ported(BASE)
    assert files.needed(changes) == files.needed(there) == ()
    files.refuse(1, makes)
    files.refuse(2, moves)
    assert files.needed(changes) == (1,)
    assert files.needed(there) == (2,)
    assert files.needed(patch(BASE, changed(BASE, line_9="int x;"))) == ()  # it is gone
    assert files.needed(makes) == ()  # and this one is there
    deletes = parse(diff(["int new;"], [], "mm/new.c", ""))
    files.refuse(3, deletes)
    assert files.needed(makes) == (3,)


@given(st.data())
def test_a_line_depends_on_the_patch_that_added_it_and_a_far_one_does_not(
    data: st.DataObject,
) -> None:
    place = data.draw(st.integers(0, len(BASE)))
    source = changed(BASE, **{f"line_{number}": "int x;" for number in data.draw(st.sets(LINES))})
    more = [*BASE[:place], "int added;", *BASE[place:]]
    files = ported(source)
    files.refuse(1, patch(BASE, more))
    index = data.draw(st.integers(0, len(more) - 1))
    context = more[max(0, index - 3) : index + 4]
    wanted = (1,) if "int added;" in context else ()
    there = all(line in (*source, "int added;") for line in context)
    second = patch(more, [*more[:index], "int again;", *more[index + 1 :]])
    needs = files.needed(second)
    assert needs in (wanted, ())
    if source == BASE:
        assert needs == wanted
    if needs:
        assert there


LINES = st.integers(1, len(BASE))
