"""The equivariant encoder of gridded flows, and the head that writes stresses back to cells."""
