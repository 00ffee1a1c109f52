"""Exact, fast kernels for residual quantisation and token pruning, as torch ops."""
