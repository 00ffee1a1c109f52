"""transformers configs of the vision tower and of the whole model."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig, SiglipVisionConfig

from craft.errors import CraftError


class DiscreteVisionConfig(SiglipVisionConfig):
    """Config of a SigLIP encoder, of the block it is read at, and of the codebook of its features.

    Args (in addition to SiglipVisionConfig's):
        read_layer: block whose output is quantised, counted from the end as in hidden states; -2 is
            the penultimate one, as in the paper (sec. 4) and in VILA-U.
        class_token: whether a learned token precedes the patches in all blocks, so that patches
            attend to it (the paper taken literally; methods A6). It is part of the encoder.
        heba: settings of the HeBA adapters in every block
            (:class:`~craft.settings.heba.HebaConfig`); None for no adapters.
        codebook_fingerprint: of the codebook that the weights speak; None accepts any codebook.
        codebook_subset: the fields of the CodebookSubset that features are quantised to, as a dict;
            None for the whole codebook.
    """

    model_type = "craft_discrete_vision"

    read_layer: int = -2
    class_token: bool = False
    heba: dict[str, Any] | None = None
    codebook_fingerprint: str | None = None
    codebook_subset: Any = None


class DiscreteLVLMConfig(PreTrainedConfig):
    """Config of a discrete tower, a projector and any transformers causal language model.

    Args:
        vision_config: a DiscreteVisionConfig or its dict.
        text_config: the language model's own config or its dict, with its ``model_type``.
        prefix_ids: tokens that precede every image, such as a begin token and a system prompt.
        projector_inner: width between the projector's two layers; by default the language model's
            width, as in VILA-U's ``mlp2x_gelu``.
    """

    model_type = "craft_discrete_lvlm"
    sub_configs: ClassVar[Any] = {
        "vision_config": DiscreteVisionConfig,
        "text_config": AutoConfig,
    }

    # Any: annotations are checked when a config is made, and a sub-config may be a dict.
    vision_config: Any = None
    text_config: Any = None
    projector_inner: int | None = None
    prefix_ids: list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.vision_config is None:
            self.vision_config = DiscreteVisionConfig()
        elif isinstance(self.vision_config, dict):
            self.vision_config = DiscreteVisionConfig(**self.vision_config)
        if isinstance(self.text_config, dict):
            if "model_type" not in self.text_config:
                raise CraftError(
                    "text_config is a dict without 'model_type', which says what language model it "
                    "is of; add it, such as 'qwen2', or pass the config object"
                )
            self.text_config = AutoConfig.for_model(**self.text_config)
        super().__post_init__(**kwargs)


AutoConfig.register(DiscreteVisionConfig.model_type, DiscreteVisionConfig)
AutoConfig.register(DiscreteLVLMConfig.model_type, DiscreteLVLMConfig)
