# SPDX-License-Identifier: GPL-2.0-only
import pytest

from harness.errors import SpecError
from harness.sizes import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("0", 0), ("7", 7), ("4096", 4096), ("512M", 2**29), ("20G", 20 * 2**30)),
        *(("6g", 6 * 2**30), ("512 MiB", 2**29), ("1.5k", 1536), ("2TB", 2**41), ("1GiB", 2**30)),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text, "--memory") == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "20X", "1..5G", "two"])
def test_other_texts_are_refused_with_the_name_of_the_option(text: str) -> None:
    with pytest.raises(SpecError, match="--memory") as caught:
        parse_size(text, "--memory")
    assert "6G" in caught.value.line()
