"""What the measuring process asks of a flow solver, whoever wrote it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from flow_case import Case

Work = Callable[[], Any]


class Solver(ABC):
    """A solver of one case, float32, vorticity in and vorticity out.

    Attributes:
        packages: distributions whose versions the report names.
        schemes: methods in time, and what the report says of them.
    """

    packages: ClassVar[tuple[str, ...]]
    schemes: ClassVar[dict[str, str]]

    def __init__(self, case: Case) -> None:
        self.case = case

    @abstractmethod
    def forward(self, scheme: str) -> Work:
        """A function that advances the initial vorticity and returns when it is done."""

    @abstractmethod
    def gradient(self, scheme: str) -> Work:
        """The same for d/d omega_0 of 1/2 sum omega_end^2: forward and backward."""

    def kept(self, scheme: str, task: str) -> Work | None:
        """Another task by its name, or None if this solver has no such task."""
        return None

    @abstractmethod
    def array(self, result: Any) -> np.ndarray:
        """A result as (N, N), axes (y, x)."""
