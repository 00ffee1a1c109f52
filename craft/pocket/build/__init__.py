"""Builds the pocket world's image data from pinned, openly licensed packages."""
