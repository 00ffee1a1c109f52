"""The paper's experiments on the pocket world: their plan, their results, what they show."""
