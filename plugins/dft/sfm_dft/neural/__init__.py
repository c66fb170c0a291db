"""Learned functionals in three dimensions: their form, their data, their training."""
