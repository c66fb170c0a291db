"""First derivatives of a self-consistent energy, and how its density answers."""
