"""Residual quantisation on GPUs, in Triton. launch.py is the way in; nothing else is imported here,
so that the package can be imported without Triton."""
