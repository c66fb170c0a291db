"""Gaussian bases: elements, tables of shells, and the basis that densities are written in."""
