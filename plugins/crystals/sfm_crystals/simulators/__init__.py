"""Lattice statics."""
