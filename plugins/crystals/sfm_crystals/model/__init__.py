"""What the model has for crystals: encoder, closure, metrics."""
