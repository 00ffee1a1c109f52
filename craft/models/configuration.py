"""What a checkpoint says about its shape: transformers configs of the tower and of the whole."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig, SiglipVisionConfig

from craft.errors import CraftError


class DiscreteVisionConfig(SiglipVisionConfig):
    """A SigLIP encoder, where it is read, and which codebook its features belong to.

    Args (beside SiglipVisionConfig's):
        read_layer: block whose output is quantised, from the end as in hidden states; -2 is the
            penultimate one, as the paper says (sec. 4) and VILA-U does.
        class_token: a learned token goes through all blocks before the patches, which then read it
            (the paper's words taken literally; methods A6). It is part of the encoder.
        heba: settings of the HeBA adapters in every block
            (:class:`~craft.settings.heba.HebaConfig`); None means that there are none.
        codebook_fingerprint: of the codebook that the weights speak; None accepts any.
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
    """A discrete tower, a projector and any causal language model of transformers.

    Args:
        vision_config: a DiscreteVisionConfig or its dict.
        text_config: the language model's own config or its dict, with its ``model_type``.
        prefix_ids: tokens that stand before every image, such as a begin token and a system prompt.
        projector_inner: width between the projector's two layers; the language model's width if not
            given, which is VILA-U's ``mlp2x_gelu``.
    """

    model_type = "craft_discrete_lvlm"
    sub_configs: ClassVar[Any] = {
        "vision_config": DiscreteVisionConfig,
        "text_config": AutoConfig,
    }

    # Any: the annotations of configs are checked when they are made, and a config may be a dict.
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
                    "text_config is a dict without 'model_type', so it could be any language "
                    "model's; add it, such as 'qwen2', or pass the config object"
                )
            self.text_config = AutoConfig.for_model(**self.text_config)
        super().__post_init__(**kwargs)


AutoConfig.register(DiscreteVisionConfig.model_type, DiscreteVisionConfig)
AutoConfig.register(DiscreteLVLMConfig.model_type, DiscreteLVLMConfig)
