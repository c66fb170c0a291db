"""Self-consistency: a molecule, its energy functional, and the ways to the solution."""
