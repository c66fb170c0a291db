"""Finite elements on triangles.

The rooms' files, lowest first: `mesh`, `files`, `triangle` (shape functions), `space` (nodes of a
mesh), `forms` (element matrices), `system` (the solve and its adjoint), `eigen`, `simulator` (what
all share), then one file per simulator.
"""
