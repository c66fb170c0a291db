"""Discovery: equations from data."""
