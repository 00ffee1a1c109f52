"""The pruning order: the definition (reference), the CPU kernel (native), their tables."""
