"""Classical energies of crystals."""
