"""Physics-informed networks: solutions as functions of time, trained on the residual."""
