# SPDX-License-Identifier: GPL-2.0-only
"""`hgm cluster`: many hosts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from harness.cli import interrupt
from harness.cli.options import new_display, require_dask, tls_option

_ADDRESS = click.argument("address", metavar="ADDRESS")


@click.group()
def cluster() -> None:
    """Have many hosts run the guests of a campaign.

    One host runs the scheduler, and each one that is to run guests a worker. `hgm matrix --cluster
    ADDRESS`, and `hgm series try`, `hgm bisect` and `hgm selfcheck detect` likewise, use them.
    """


@cluster.command("init")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def cluster_init(directory: Path) -> int:
    """Make the certificates of a cluster.

    DIR gets an authority and a certificate for each of scheduler, worker and client. A host needs
    ca.pem and both files of its role; ca-key.pem stays where it was made.
    """
    from harness.cluster import certificates

    for path in certificates.make(directory):
        click.echo(path)
    return 0


@cluster.command("scheduler")
@click.option(
    "--listen",
    default="127.0.0.1",
    show_default=True,
    metavar="HOST[:PORT]",
    help="Where to listen; any address but loopback needs --tls.",
)
@tls_option
def cluster_scheduler(listen: str, tls: Path | None) -> int:
    """Run the scheduler.

    Prints its address once it listens, and runs until it is interrupted. It keeps kernels and
    images for the workers in its cache.
    """
    from harness.cluster.address import endpoint
    from harness.workspace import Workspace

    where = endpoint(listen, tls)
    require_dask()
    from harness.cluster import scheduler

    _until_interrupted(scheduler.serve(where, Workspace.default(), click.echo))
    return 0


@cluster.command("worker")
@_ADDRESS
@tls_option
@click.option("--name", default="", help="What messages call this host.  [default: its host name]")
@click.option(
    "--cores",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many CPUs guests may have in total.  [default: all that no other worker offers]",
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="Memory for guests, such as 16G.  [default: four fifths of what is available, less what "
    "other workers offer]",
)
def cluster_worker(
    address: str, tls: Path | None, name: str, cores: int | None, memory: str | None
) -> int:
    """Run guests for a scheduler.

    ADDRESS is the scheduler's; the worker ends when the scheduler does, or when it is interrupted.
    It offers what this host has: cores, memory, disk, architectures, and KVM if that was seen to
    work.
    """
    from harness.cluster.address import endpoint
    from harness.context import Context
    from harness.deadline import Deadline
    from harness.sizes import parse_size
    from harness.workspace import Workspace

    where = endpoint(address, tls)
    size = parse_size(memory, "--memory") if memory else 0
    require_dask()
    from harness.cluster import worker

    with new_display() as display:
        start = Deadline.after(120, "what this host has")
        context = Context(Workspace.default(), start, display)
        _until_interrupted(worker.serve(where, context, name=name, cores=cores or 0, memory=size))
    return 0


@cluster.command("status")
@_ADDRESS
@tls_option
def cluster_status(address: str, tls: Path | None) -> int:
    """List the workers of a scheduler, and what they have.

    ADDRESS is the scheduler's.
    """
    from harness.cluster.address import endpoint

    where = endpoint(address, tls)
    require_dask()
    from harness.cluster import client, worker

    with new_display() as display, client.connected(where, display) as found:
        for name, has in sorted(found.workers()):
            click.echo(f"{name}: {worker.described(has)}")
    return 0


def _until_interrupted(serving: Coroutine[Any, Any, None]) -> None:
    async def serve() -> None:
        task = asyncio.ensure_future(serving)
        for number in interrupt.signals():
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())
