"""Relaxation of cells, and what relaxed cells tell."""
