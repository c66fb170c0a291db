"""Which flows a dataset is made of: ensembles by kind of flow and Reynolds number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sfm.errors import InputError, did_you_mean
from sfm_fluids.data.dns_2d import Case
from sfm_fluids.flows.members import FLOWS, Member


@dataclass(frozen=True)
class Resolution:
    """What one Reynolds number needs: grid points per side, time step, time before sampling."""

    viscosity: float
    points: int
    dt: float
    spin_up: float

    @property
    def reynolds(self) -> float:
        return 1.0 / self.viscosity

    @property
    def precision(self) -> str:
        """float64 up to 199 points a side; above, float32 (budgets and filtering stay float64)."""
        return "float64" if self.points < 200 else "float32"


@dataclass(frozen=True)
class Ensemble:
    """Two trajectories of each kind at each Reynolds number, sampled at equal times.

    Attributes:
        kinds: of `FLOWS`.
        resolutions: one per Reynolds number.
        interval: time between snapshots.
        snapshots: per trajectory.
        first: added to the seed of the first kind.
    """

    kinds: tuple[str, ...]
    resolutions: tuple[Resolution, ...]
    interval: float
    snapshots: int
    first: int = 0

    @property
    def trajectories(self) -> int:
        return 2 * len(self.kinds) * len(self.resolutions)


def cases(
    resolutions: Sequence[Resolution],
    interval: float,
    snapshots: int,
    seed: int,
    *,
    kinds: Sequence[str] = ("kolmogorov", "ring", "decaying"),
    first: int = 0,
) -> list[Case]:
    """One case per resolution: two trajectories of each kind, with seeds of their own."""
    return [
        Case(
            r.viscosity,
            r.points,
            r.dt,
            r.spin_up,
            interval,
            snapshots,
            tuple(
                Member(kind, seed + first + 10 * level + 2 * number + copy)
                for number, kind in enumerate(kinds)
                for copy in range(2)
            ),
            r.precision,
        )
        for level, r in enumerate(resolutions)
    ]


def planned(ensembles: Iterable[Ensemble], seed: int, size: int | None = None) -> list[Case]:
    """All cases of the ensembles; `size` snapshots in all, evenly fewer or more than they say."""
    ensembles = list(ensembles)
    total = sum(e.trajectories * e.snapshots for e in ensembles)
    plan = []
    for e in ensembles:
        count = e.snapshots if size is None else max(1, round(e.snapshots * size / total))
        plan += cases(e.resolutions, e.interval, count, seed, kinds=e.kinds, first=e.first)
    return plan


SETTINGS = ("grid", "reynolds", "flows", "interval", "spin_up", "snapshots", "points", "dt")


def changed(ensembles: Iterable[Ensemble], settings: dict[str, Any]) -> list[Ensemble]:  # noqa: C901
    """The ensembles with `--set` settings: flows, reynolds, interval, spin_up, snapshots, ...

    A Reynolds number that is not listed runs on the grid of the next higher one that is.

    Raises:
        InputError: an unknown setting or value, or a Reynolds number above all that are listed.
    """
    for key in settings:
        if key not in SETTINGS:
            raise InputError(
                f"--set {key}: no such setting (known: {', '.join(SETTINGS)})."
                f"{did_you_mean(key, SETTINGS)}"
            )
    for key in set(settings) & {"grid", "snapshots", "points"}:
        _check_number(key, settings[key], whole=True)
    for key in set(settings) & {"interval", "spin_up", "dt"}:
        _check_number(key, settings[key])
    for value in _several(settings.get("reynolds")) or ():
        _check_number("reynolds", value)
    flows = _several(settings.get("flows"))
    for kind in flows or ():
        if kind not in FLOWS:
            raise InputError(f"--set flows: no flow '{kind}' (known: {', '.join(FLOWS)})")
    selected = []
    for e in ensembles:
        # kinds keep their seeds whether or not others are left out
        for number, kind in enumerate(e.kinds):
            if flows is None or kind in flows:
                selected.append(
                    replace(
                        e,
                        kinds=(kind,),
                        first=e.first + 2 * number,
                        resolutions=_resolutions(e.resolutions, settings),
                        interval=float(settings.get("interval", e.interval)),
                        snapshots=int(settings.get("snapshots", e.snapshots)),
                    )
                )
    if not selected:
        raise InputError(f"--set flows={flows}: this dataset has none of them")
    for e in selected:
        _check_steps(e)
        _check_points(e, settings.get("grid"))
    return selected


def _check_number(key: str, value: Any, *, whole: bool = False) -> None:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
        what = "a whole number above 0" if whole else "a number above 0"
        raise InputError(f"--set {key}={value}: give {what}")


def _check_points(ensemble: Ensemble, grid: int | None) -> None:
    fewest = min(r.points for r in ensemble.resolutions)
    if grid is not None and grid > fewest:
        raise InputError(
            f"--set grid={grid}: more points than the {fewest} of a simulation; set points too"
        )


def _check_steps(ensemble: Ensemble) -> None:
    for r in ensemble.resolutions:
        for name, value in (("interval", ensemble.interval), ("spin_up", r.spin_up)):
            if abs(value / r.dt - round(value / r.dt)) > 1e-6 or round(value / r.dt) < 1:
                raise InputError(f"{name}={value:g} is no multiple of the time step {r.dt:g}")


def _several(value: Any) -> list[Any] | None:
    return value if isinstance(value, list) or value is None else [value]


def _resolutions(
    listed: tuple[Resolution, ...], settings: dict[str, Any]
) -> tuple[Resolution, ...]:
    numbers = _several(settings.get("reynolds"))
    chosen = listed
    if numbers is not None:
        chosen = tuple(_resolution(float(re), listed) for re in numbers)
    overrides = {
        k: type(getattr(listed[0], k))(settings[k])
        for k in ("points", "dt", "spin_up")
        if k in settings
    }
    return tuple(replace(r, **overrides) for r in chosen)


def _resolution(reynolds: float, listed: tuple[Resolution, ...]) -> Resolution:
    fine = [r for r in listed if r.reynolds >= reynolds * (1 - 1e-9)]
    if not fine:
        raise InputError(
            f"--set reynolds={reynolds:g}: above all that this dataset resolves; take at most "
            f"{max(r.reynolds for r in listed):g}"
        )
    best = min(fine, key=lambda r: r.reynolds)
    return (
        best if abs(best.reynolds / reynolds - 1) < 1e-9 else replace(best, viscosity=1 / reynolds)
    )
