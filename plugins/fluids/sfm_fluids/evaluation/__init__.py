"""How good a closure or a surrogate is."""
