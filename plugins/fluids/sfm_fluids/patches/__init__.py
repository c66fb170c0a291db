"""A foundation model on gridded flows: encoders, heads, the closure and the surrogate."""
