# SPDX-License-Identifier: GPL-2.0-only
"""Many runs to one question. They call the pipeline; nothing calls back up."""
