"""Simulators: classical theories as differentiable programs."""

from sfm.simulate.base import Observations, Parameter, Setting, Simulator, Trajectory
from sfm.simulate.through import Through
from sfm.simulate.volume import Volume

__all__ = ["Observations", "Parameter", "Setting", "Simulator", "Through", "Trajectory", "Volume"]
