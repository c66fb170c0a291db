"""The integration grid: points, weights, and orbitals with their derivatives on it."""
