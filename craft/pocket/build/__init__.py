"""Build the pocket world's images from pinned, openly licensed packages, and its models."""
