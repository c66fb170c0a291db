"""Datasets, files and objects of molecules."""
