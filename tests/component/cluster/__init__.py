# SPDX-License-Identifier: GPL-2.0-only
import pytest

pytest.register_assert_rewrite("tests.component.cluster.losses")
