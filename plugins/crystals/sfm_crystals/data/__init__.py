"""Datasets, files and objects of crystals."""
