"""What the model has for molecules: encoder, heads, closure, metrics."""
