"""Fourier calculus in periodic boxes: grids, transforms, fluxes, forces, filters."""
