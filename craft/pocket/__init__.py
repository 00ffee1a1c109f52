"""The pocket world: a small real world that ships with the project."""
