"""The paper's experiments on the pocket world: what is run, the results, what they show."""
