"""Finite elements on triangles.

The rooms' files, lowest first: `mesh`, `triangle` (shape functions), `space` (nodes of a mesh),
`forms` (element matrices), `system` (the solve and its adjoint), then one file per simulator.
"""
