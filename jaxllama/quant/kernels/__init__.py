"""Kernels that are assembled at run time."""
