# SPDX-License-Identifier: GPL-2.0-only
"""The scheduler of a cluster: Dask's own."""

from __future__ import annotations

from collections.abc import Callable

from distributed import Scheduler

from harness.cluster import certificates, settings
from harness.cluster.address import Endpoint
from harness.errors import InfrastructureError


async def serve(endpoint: Endpoint, ready: Callable[[str], None]) -> None:
    """Schedule tasks until the process ends.

    Args:
        endpoint: where to listen.
        ready: is called with the address once clients and workers can connect.

    Raises:
        InfrastructureError: if it cannot listen there.
    """
    settings.apply()
    try:
        async with Scheduler(
            host=endpoint.host,
            port=endpoint.port,
            protocol=endpoint.scheme,
            security=certificates.security(endpoint.tls, "scheduler"),
            dashboard=False,
            dashboard_address="127.0.0.1:0",
        ) as scheduler:
            ready(scheduler.address)
            await scheduler.finished()
    except OSError as error:
        raise InfrastructureError(f"cannot listen at {endpoint}: {error.strerror}") from None
