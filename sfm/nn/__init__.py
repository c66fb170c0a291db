"""The trunk, its layers, bases of encoders and heads; small modules trained and kept."""
