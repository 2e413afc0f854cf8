# SPDX-License-Identifier: GPL-2.0-only
"""What all tests share."""

import os
import signal

from hypothesis import HealthCheck, settings

# A slow example is a busy machine and no defect: tests are never timed.
settings.register_profile("hgm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hgm")

# Whoever started the tests in the background may have had SIGINT ignored, and the programs that
# tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Runs of tests are not part of anybody's history.
os.environ.pop("HGM_STORE", None)
