"""Shapes of molecules: from bonds to positions and back, and small displacements."""
