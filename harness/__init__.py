# SPDX-License-Identifier: GPL-2.0-only
"""From kernel source to a judged record: the hugetlb, userfaultfd and madvise test harness.

Data flows one way, and each arrow is a module that can be read on its own::

    source -> series -> config -> kernel -> image -> guest -> probes -> evidence
           -> verdict -> record -> report
"""

__version__ = "0.2.0"
