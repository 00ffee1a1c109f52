"""The paper's experiments on the pocket world: what is run, what comes out, what it shows."""
