"""Classical energies of molecules."""
