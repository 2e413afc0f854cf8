# SPDX-License-Identifier: GPL-2.0-only
"""What all tests share."""

from hypothesis import HealthCheck, settings

# A slow example is a busy machine and no defect: tests are never timed.
settings.register_profile("hgm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hgm")
