"""Darcy flow through a porous medium: an elliptic equation with a rough coefficient."""
