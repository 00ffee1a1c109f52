"""The pruning order: the definition (reference), the kernels, and the tables they share."""
