"""Kohn-Sham theory as a simulator, nuclei that move on it, figures, and the way into PySCF."""
