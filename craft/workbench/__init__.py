"""What users do with any model family and any data: one function per command."""
