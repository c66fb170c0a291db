"""Conformance kit, physics assertions and a local Hub, for us and for plugin authors."""
