"""Residual quantisation: the definition (reference), the fast path (native), their gradients."""
