"""Operator learners that are no foundation model: Fourier, DeepONet and multipole graph operators.

Lowest first: `tasks` (what is asked), `symmetry`; `fourier`, `deeponet`, `multipole` (networks);
`operator` (a network with its task, trained and kept); `flow` (one as the step of a flow).
"""
