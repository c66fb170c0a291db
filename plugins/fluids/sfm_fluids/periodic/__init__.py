"""Flows in periodic boxes: Fourier pseudo-spectral solvers."""
