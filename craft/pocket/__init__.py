"""The pocket world: small real data and models that ship with the package."""
