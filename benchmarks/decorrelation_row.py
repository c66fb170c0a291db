"""A line of the tables of closures: how long a solver stays with its reference, and its cost."""

from __future__ import annotations

from typing import Any

from sfm_fluids.evaluation.decorrelation import Run


def decorrelation_row(
    name: str, points: int, dt: float, run: Run, cost: float | None = None
) -> dict[str, Any]:
    """Times to decorrelation of every flow, their mean and its error; times without unit.

    Args:
        name: of the solver.
        points: of its grid, each way.
        dt: its time step.
        run: what it did.
        cost: CPU seconds per unit of time and flow; None takes the run's own.
    """
    times = run.decorrelation
    return {
        "name": name,
        "points": points,
        "dt": dt,
        "decorrelation": times.tolist(),
        "mean": float(times.mean()),
        "standard error": float(times.std(ddof=1) / len(times) ** 0.5),
        "cost [ms]": 1e3 * (run.cost if cost is None else cost),
    }
