"""What the trunk needs of this domain: encoders, heads, closures, metrics."""
