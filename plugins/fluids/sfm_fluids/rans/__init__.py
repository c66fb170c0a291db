"""Reynolds-averaged channel flow in one dimension, with classical and learned eddy viscosities."""
