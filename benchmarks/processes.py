"""Starting measuring processes and talking to them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NPROC",  # the thread pool of XLA on CPUs
)


# keep freed memory, as sfm's training does, instead of returning it to the system after each step
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
}


class PeerError(Exception):
    """A model cannot be measured; the message says why."""


def environment(threads: int = 1) -> dict[str, str]:
    """This environment, with the number of threads fixed and nothing of this Python in it."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    fixed = dict.fromkeys(THREAD_VARIABLES, str(threads))
    return {
        **kept,
        **fixed,
        **ALLOCATOR,
        "OMP_WAIT_POLICY": "PASSIVE",
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'false' if threads == 1 else 'true'}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONWARNINGS": "ignore",
    }


class Worker:
    """One measuring process: a script of this folder that calls `serving.serve`.

    Raises:
        PeerError: the process ended, or its model cannot be built or run.
    """

    def __init__(
        self, python: Path | str, script: str, *arguments: object, threads: int = 1
    ) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in close()
        self.process = subprocess.Popen(
            [str(python), str(HERE / script), *(str(a) for a in arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment(threads),
        )
        try:
            self.description = self._read()
        except PeerError:
            self.close()
            raise

    def ask(self, request: str, **arguments: Any) -> dict[str, Any]:
        """One request, one answer."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps([request, arguments]) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(self._why()) from None
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise PeerError(self._why())
        reply = json.loads(line)
        if "error" in reply:
            raise PeerError(reply["error"])
        return reply

    def _why(self) -> str:
        code = self.process.wait()
        self.log.seek(0)
        lines = self.log.read().strip().splitlines()
        return f"its process ended with code {code}: {lines[-1] if lines else 'no message'}"

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it may have died, and others go on
                self.process.stdin.close()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.log.close()
