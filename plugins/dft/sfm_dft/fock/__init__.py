"""Fock matrices in a minimal basis, predicted by an equivariant module on the shared trunk."""
