"""Operator learners that are no foundation model: Fourier operators and DeepONets."""
