# SPDX-License-Identifier: GPL-2.0-only
"""The scheduler of a cluster: Dask's own."""

from __future__ import annotations

from collections.abc import Callable

from distributed import Scheduler

from harness.cluster import certificates, settings
from harness.cluster.address import Endpoint
from harness.errors import InfrastructureError
from harness.workspace import Workspace


async def serve(endpoint: Endpoint, workspace: Workspace, ready: Callable[[str], None]) -> None:
    """Schedule tasks until the process ends.

    Args:
        endpoint: where to listen.
        workspace: the cache.
        ready: is called with the address once clients and workers can connect.

    Raises:
        InfrastructureError: if it cannot listen there.
    """
    workspace.sweep()  # a scheduler that was killed has left its directory
    settings.apply()
    with workspace.unfinished("scheduler") as scratch:
        try:
            async with Scheduler(
                host=endpoint.host,
                port=endpoint.port,
                protocol=endpoint.scheme,
                security=certificates.security(endpoint.tls, "scheduler"),
                dashboard=False,
                dashboard_address="127.0.0.1:0",
                local_directory=str(scratch),
            ) as scheduler:
                ready(scheduler.address)
                await scheduler.finished()
        except OSError as error:
            raise InfrastructureError(f"cannot listen at {endpoint}: {error.strerror}") from None
