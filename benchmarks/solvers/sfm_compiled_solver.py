"""`fluids/navier-stokes-2d` with `kernel="compiled"`, for grids of at most 64 points."""

from __future__ import annotations

from typing import ClassVar

from flow_case import Case

from solvers.base import Solver
from solvers.sfm_solver import Sfm


class CompiledSfm(Sfm):
    kernel: ClassVar[str] = "compiled"


def build(case: Case) -> Solver:
    return CompiledSfm(case)
