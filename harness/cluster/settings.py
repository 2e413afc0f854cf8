# SPDX-License-Identifier: GPL-2.0-only
"""Dask's settings in the processes of a cluster."""

from __future__ import annotations

import logging

import dask


def apply() -> None:
    """Have Dask offer no web pages, and log what is wrong only."""
    dask.config.set({"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []})
    for name in ("distributed", "distributed.client", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
