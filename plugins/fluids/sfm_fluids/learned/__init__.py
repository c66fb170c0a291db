"""Closures that are trained on their own, without a foundation model."""
