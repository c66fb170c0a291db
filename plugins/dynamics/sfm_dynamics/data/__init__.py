"""Datasets: specs, building, trajectories."""
