"""Flows on a staggered (marker-and-cell) grid: walls, inflow, outflow, obstacles."""
