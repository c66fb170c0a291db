"""A job of SLURM that is told that its time is nearly over puts itself back into the queue.

`#SBATCH --signal=USR1@120` has SLURM send SIGUSR1 to the processes of `srun` two minutes before the
job's time limit. `--requeue` alone answers failed nodes and preemption, not the time limit.
"""

from __future__ import annotations

import signal
import subprocess
import warnings

from sfm.errors import InputWarning

TOLD: signal.Signals | None = getattr(signal, "SIGUSR1", None)  # Windows has none


def job() -> int | None:
    """The batch job of SLURM that this process is in; None elsewhere and in interactive jobs."""
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    number: int | None = SLURMEnvironment.job_id()
    return number


def requeue(number: int) -> None:
    """Ask SLURM to run a job again; warns where it does not."""
    command = ["scontrol", "requeue", str(number)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        reason = done.stderr.strip().partition("\n")[0] if done.returncode else ""
        reason = reason or (f"exit code {done.returncode}" if done.returncode else "")
    except OSError as error:
        reason = str(error)
    if reason:
        text = f"job {number} is not back in the queue ({reason}); submit it again with --resume"
        warnings.warn(text, InputWarning, stacklevel=2)
