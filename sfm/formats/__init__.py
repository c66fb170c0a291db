"""JSON and YAML as their standards have them, read within limits."""
