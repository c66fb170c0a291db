"""One module per model: how to build it, what to feed it, how to ask it for energy and forces."""
