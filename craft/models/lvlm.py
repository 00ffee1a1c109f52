"""The name under which the scripts that build the pocket models know the aligned language model."""

from craft.models.aligned_language_model import AlignedLanguageModel as DiscreteLVLM

__all__ = ["DiscreteLVLM"]
