"""Second derivatives of a self-consistent energy: Hessian, vibrations, polarizability.

`assemble` makes the whole Hessian of a closed or open shell at once, all displacements in one pass;
`curvature` takes one displacement at a time, any occupations, and parameters with it.
"""
