"""The whole Hessian of a closed or open shell at once: every displacement in one pass.

`sfm_dft.curvature` takes one displacement at a time, any occupations, and parameters with it.
"""
