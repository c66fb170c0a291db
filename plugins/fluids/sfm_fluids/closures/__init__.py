"""Classical subgrid closures, as modules velocity, spacing -> stress."""
