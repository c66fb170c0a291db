"""A model inside other people's engines: torch-sim, OpenMM, and whoever speaks i-PI's protocol.

Each file is one thin adapter around `sfm.model.potential`, so that level, domain, charge and spin,
and what is refused outside the training data, are those of every other door. ASE's calculator is
`sfm.model.calculator`; `named` and `matcalc` make one out of what a workflow stores.
"""
