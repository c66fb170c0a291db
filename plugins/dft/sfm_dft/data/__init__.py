"""Datasets of the dft domain: their specs, the labels by PySCF, builders and readers."""
