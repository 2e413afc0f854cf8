# SPDX-License-Identifier: GPL-2.0-only
"""``python -m harness.cli``."""

from harness.cli.main import main

main()
