"""Residual quantisation on GPUs, in Triton. The entry point is launch.py; nothing is imported here,
so that the package can be imported without Triton."""
