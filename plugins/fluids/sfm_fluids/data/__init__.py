"""Datasets: simulation, filtering, reading and writing."""
