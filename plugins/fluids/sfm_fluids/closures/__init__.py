"""Subgrid closures: classical, convolutional, and the trained equivariant model."""
