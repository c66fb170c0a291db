"""Simulators: classical theories as differentiable programs."""

from sfm.simulate.base import Observations, Parameter, Setting, Simulator, Trajectory

__all__ = ["Observations", "Parameter", "Setting", "Simulator", "Trajectory"]
