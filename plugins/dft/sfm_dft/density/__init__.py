"""Densities that a model predicts: as a first guess, and how they are trained."""
