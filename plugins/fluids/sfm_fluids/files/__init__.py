"""Formats of fields: reading, writing, and what a file states of its box."""
