"""What a user does with any family of models and any data; each command is one of these calls."""
