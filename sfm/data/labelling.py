"""Labelling in parallel: many independent jobs on Dask workers, whose failures stop nobody.

Workers are local processes by default and those of any Dask cluster by its address. Without Dask
the same jobs run on `concurrent.futures` processes. One worker means this very process.

A job should keep its result where the next run finds it (a file written whole, named by a hash of
the job): then a run that was stopped goes on where it was, and the order of the jobs, the number
of workers and their machines change nothing. On a cluster that folder must be a shared one.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any

from sfm.errors import InputError, RunError


def note(text: str) -> None:
    """One line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def pool(workers: int = 1, cluster: str | None = None) -> Iterator[Executor]:
    """An executor of `concurrent.futures`: Dask's, or processes where Dask is not installed.

    Args:
        workers: local processes, one thread each.
        cluster: address of a Dask scheduler (`tcp://host:8786`) to use instead.

    Raises:
        InputError: no Dask for a cluster, or the cluster does not answer.
    """
    if find_spec("distributed") is None:
        if cluster is not None:
            raise InputError(f"{cluster}: a cluster needs Dask: pip install 'dask[distributed]'")
        with ProcessPoolExecutor(workers, get_context("spawn")) as executor:
            yield executor
        return
    from distributed import Client, LocalCluster

    if cluster is not None:
        try:
            client = Client(cluster, timeout=20)
        except (OSError, ValueError) as error:
            raise InputError(f"{cluster}: no Dask scheduler answers there ({error})") from None
        with client:
            yield client.get_executor()
        return
    local = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",  # any free port: two builds may run beside each other
        silence_logs=logging.ERROR,
    )
    with local, Client(local) as client:
        yield client.get_executor()


def label_all(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    names: Sequence[str],
    *,
    workers: int = 1,
    cluster: str | None = None,
    report: Callable[[str], None] = note,
) -> list[Any]:
    """`function(job)` of all jobs, in their order.

    Args:
        function: importable by name, with arguments and results that can be pickled.
        jobs: its arguments.
        names: what to call each job in messages.
        workers: local processes; 1 runs the jobs here, one after another.
        cluster: address of a Dask scheduler to use instead.
        report: called with one line whenever a job is done.

    Raises:
        RunError: some jobs failed, after all others were done; each is listed with its reason.
        InputError: the cluster does not answer.
    """
    results: dict[int, Any] = {}
    failures: dict[int, str] = {}

    def settle(index: int, get: Callable[[], Any]) -> None:
        try:
            results[index] = get()
            word = "done"
        except Exception as error:  # a job may fail in any way; the others go on
            first = (str(error).splitlines() or [""])[0]
            failures[index] = f"{type(error).__name__}: {first}"
            word = f"FAILED ({failures[index]})"
        report(f"[{len(results) + len(failures)}/{len(jobs)}] {names[index]}: {word}")

    if workers <= 1 and cluster is None:
        for index, job in enumerate(jobs):
            settle(index, partial(function, job))
    elif jobs:
        with pool(min(workers, len(jobs)), cluster) as executor:
            futures = {executor.submit(function, job): i for i, job in enumerate(jobs)}
            for future in as_completed(futures):
                settle(futures[future], future.result)
    if failures:
        lines = "; ".join(f"{names[i]}: {failures[i]}" for i in sorted(failures))
        raise RunError(f"{len(failures)} of {len(jobs)} jobs failed, the others are kept; {lines}")
    return [results[i] for i in range(len(jobs))]
