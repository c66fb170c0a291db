"""`sfm discover`: SINDy on a file, as a report."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from sfm.errors import InputError
from sfm_dynamics.discovery.sindy import discover
from sfm_dynamics.series import read_table

POOR = 0.9


def discover_file(
    path: Path, *, degree: int = 2, threshold: float = 0.02, seed: int = 0
) -> dict[str, Any]:
    """The equation behind a time series.

    Args:
        path: `.csv` or `.npz`, see `sfm_dynamics.series.read_table`.
        degree: highest degree of the candidate monomials. threshold: see
            `sfm_dynamics.discovery.sindy.discover`. seed: of the ensemble.

    Returns:
        `equations`, one line per variable; `quantities`, each coefficient with unit and interval;
        `warnings`.

    Raises:
        InputError: the file is unusable, too short for the library, or a bad degree or threshold.
    """
    if seed < 0:
        raise InputError(f"seed {seed}: give 0 or more")
    if not 0 <= threshold < 1:
        raise InputError(f"threshold {threshold:g} is a share of the largest term: 0 to 1")
    table = read_table(path)
    equation = discover(
        table.times,
        table.values,
        table.names,
        degree=degree,
        threshold=threshold,
        seed=seed,
        time_unit=table.time_unit,
    )
    entries = {}
    for i, name in enumerate(table.names):
        for k in np.flatnonzero(equation.coefficients[:, i]):
            factors = [table.units[j] for j in equation.library.powers[k]]
            entries[f"d{name}/dt: {equation.library.terms[k]}"] = {
                "value": float(equation.coefficients[k, i]),
                "unit": coefficient_unit(table.units[i], table.time_unit, factors),
                "shape": [],
                "interval_95": [float(equation.low[k, i]), float(equation.high[k, i])],
                "inclusion": float(equation.inclusion[k, i]),
            }
    told = [
        f"d{name}/dt: the equation explains {100 * share:.0f} % of the variance; the terms may be "
        "wrong: try another degree, or give more data"
        for name, share in zip(table.names, equation.explained, strict=True)
        if share < POOR
    ]
    return {"equations": equation.lines(), "quantities": entries, "warnings": told}


def coefficient_unit(variable: str, time: str, factors: list[str]) -> str:
    """Unit of a coefficient whose term multiplies variables of the units `factors`.

    >>> coefficient_unit("m", "s", ["m", "m"]), coefficient_unit("m/s", "s", ["m/s", "m/s"])
    ('1/(m*s)', '1/((m/s)*s)')
    """
    powers = Counter({variable: 1})
    powers.subtract([time, *factors])
    powers.pop("1", None)

    def product(sign: int) -> list[str]:
        return [
            (unit if n == 1 else _bound(unit)) if abs(n) == 1 else f"{_bound(unit)}**{abs(n)}"
            for unit, n in sorted(powers.items())
            if n * sign > 0
        ]

    top, bottom = "*".join(product(1)) or "1", product(-1)
    if not bottom:
        return top
    return f"{top}/{bottom[0]}" if len(bottom) == 1 else f"{top}/({'*'.join(bottom)})"


def _bound(unit: str) -> str:
    """A unit of several words in parentheses, so that a power is one of all of it."""
    return unit if unit.replace("_", "").isalnum() else f"({unit})"
