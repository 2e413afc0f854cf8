# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns on many hosts: the guests of their runs as tasks of Dask's scheduler.

The client fetches, patches and builds, and gives away what follows: booting guests and running
probes. Only this package imports ``distributed``, and only `hgm` commands that name a cluster
import this package.
"""
