"""Simulators: ordinary, Hamiltonian and stochastic differential equations."""
