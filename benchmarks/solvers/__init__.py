"""Flow solvers behind one face: ours and the peers'."""
