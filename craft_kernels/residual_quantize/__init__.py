"""Residual quantisation: the definition (reference), the fast kernels, and their gradients."""
