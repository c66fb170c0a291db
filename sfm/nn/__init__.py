"""The trunk, its layers, and the bases of encoders and heads."""
