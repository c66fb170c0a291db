"""What a working process does: it waits for jobs on a pipe and answers them one after another."""

from __future__ import annotations

import importlib
import os
import signal
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sfm.errors import RunError, SfmError
from sfm.serve.desk import Desk
from sfm.serve.limits import Limits


def _jobs(desk: Desk) -> Mapping[str, Callable[..., Any]]:
    from sfm.serve import embedding, predicting, searching, shelf, simulating

    return {
        "models": shelf.models,
        "datasets": shelf.datasets,
        "dataset": shelf.dataset,
        "plugins": shelf.plugins,
        "simulators": shelf.simulators,
        "simulator": shelf.simulator,
        "predict": predicting.predict,
        "embed": embedding.embed,
        "neighbours": searching.neighbours,
        "simulate": simulating.simulate,
    }


def _import(desk: Desk) -> None:
    """Import what a simulation needs, so that the first one need not wait."""
    for name in ("torch", "matplotlib.pyplot", "sfm.cli.simulate", "sfm.simulate.base"):
        importlib.import_module(name)


def _load(desk: Desk) -> None:
    """Load the models."""
    for name in desk.names:
        desk.model(name)


def main(pipe: Any, models: Sequence[str], limits: Limits, load: bool) -> None:
    """The process's loop; it ends when the server does.

    Args:
        pipe: jobs come in, `(name, options)`; `("answer" | "error" | ..., value)` goes out. The
            first answer says that the process is ready.
        models: models that jobs may name.
        limits: what the process may use.
        load: whether to load the models now.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the pipe ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _bound(limits.memory)
    with tempfile.TemporaryDirectory(prefix="sfm-serve-") as empty:
        os.chdir(empty)  # a relative name finds nothing here
        desk = Desk(models, limits, lambda kind, value: pipe.send((kind, value)))
        try:
            pipe.send(_answer(desk, _load if load else _import, {}))
            while True:
                job, options = pipe.recv()
                pipe.send(_answer(desk, _jobs(desk)[job], options))
        except (EOFError, OSError):
            return


def _answer(desk: Desk, job: Callable[..., Any], options: Mapping[str, Any]) -> tuple[str, Any]:
    from sfm.cli.output import input_warnings

    told: list[str] = []
    try:
        with input_warnings(told), warnings.catch_warnings():
            answer = job(desk, **options)
        if told and isinstance(answer, dict):
            answer["warnings"] = [*told, *answer.get("warnings", [])]
        return "answer", answer
    except SfmError as error:
        return "error", (error.exit_code, " ".join(str(error).split()))
    except Exception as error:
        fault = _memory(error)
        text = str(fault or f"{type(error).__name__}: {error} (unexpected)")
        return "error", (1, " ".join(text.split()))


def _memory(error: Exception) -> SfmError | None:
    if isinstance(error, MemoryError) or "not enough memory" in str(error):
        return RunError("needs more memory than this page may use; make it smaller")
    return None


def _bound(memory: int) -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    except (ImportError, ValueError, OSError):
        return  # not on this system: the limits on sizes and time remain
