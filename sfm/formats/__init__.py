"""JSON and YAML as their standards have them, npz and HDF5, read within limits."""
