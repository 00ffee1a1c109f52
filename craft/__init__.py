"""CRAFT: adapt discrete vision-language models by fine-tuning only the vision encoder."""
