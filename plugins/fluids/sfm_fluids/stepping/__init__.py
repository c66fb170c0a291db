"""Time stepping of stiff semi-linear equations, and how a rollout remembers itself."""
