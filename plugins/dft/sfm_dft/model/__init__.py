"""Encoders, heads, closure and metrics of the dft domain."""
