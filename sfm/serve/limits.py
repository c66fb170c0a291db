"""How much one client may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of what a page may ask; `sfm serve` shows those that a user may change.

    Attributes:
        body: largest body of a request, bytes.
        waiting: most predictions that wait for their turn; more are refused (503).
        predict_seconds: longest prediction, reading of the file included.
        run_seconds: longest simulation.
        runs: simulations at the same time.
        kept: finished runs whose results can still be downloaded; older ones are deleted.
        systems: most systems of one file.
        atoms: most atoms of one file.
        numbers: most numbers of one field, or of a simulated state.
        steps: most steps of a run.
        records: most recorded states of a run.
        frames: bytes of a run's pictures that are kept to be watched again.
        memory: private memory of a working process, bytes, where the system can bound it.
    """

    body: int = 8_000_000
    waiting: int = 100
    predict_seconds: float = 120.0
    run_seconds: float = 300.0
    runs: int = 2
    kept: int = 8
    systems: int = 50
    atoms: int = 2_000
    numbers: int = 2_000_000
    steps: int = 100_000
    records: int = 1_000
    frames: int = 32_000_000
    memory: int = 6_000_000_000
