"""Both towers as `transformers` knows them: `SiglipModel` (fixed resolution) and `Siglip2Model` (NaFlex)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    PreTrainedModel,
    Siglip2Config,
    Siglip2VisionConfig,
    SiglipConfig,
    SiglipVisionConfig,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.siglip.modeling_siglip import SiglipOutput

from siglip2.config import TextConfig
from siglip2.errors import InvalidInput
from siglip2.interop.transformers import Siglip2VisionTower, SiglipVisionTower, init_weights
from siglip2.network.model import INITIAL_BIAS, INITIAL_LOG_SCALE, normalize
from siglip2.network.text import TextTower


class _TwoTowers(PreTrainedModel):
    base_model_prefix = "siglip"
    supports_gradient_checkpointing = True
    _no_split_modules = ["EncoderLayer"]  # noqa: RUF012 - as the base class has it
    _supports_sdpa = True

    def __init__(self, config: Any, vision: PreTrainedModel):
        super().__init__(config)
        text = config.text_config
        shape = TextConfig(
            width=text.hidden_size,
            depth=text.num_hidden_layers,
            mlp_dim=text.intermediate_size,
            num_heads=text.num_attention_heads,
            vocab_size=text.vocab_size,
            context_length=text.max_position_embeddings,
        )
        self.vision_model = vision
        self.text_model = TextTower(shape, text.projection_size or text.hidden_size, text.layer_norm_eps)
        self.logit_scale = nn.Parameter(torch.full((1,), INITIAL_LOG_SCALE))
        self.logit_bias = nn.Parameter(torch.full((1,), INITIAL_BIAS))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table of tokens."""
        return self.text_model.embeddings.token_embedding

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        init_weights(module)
        if module is self:
            nn.init.constant_(self.logit_scale, INITIAL_LOG_SCALE)
            nn.init.constant_(self.logit_bias, INITIAL_BIAS)

    def get_image_features(
        self, pixel_values: Tensor, *inputs: Any, **options: Any
    ) -> BaseModelOutputWithPooling:
        """The image tower's output, whose `pooler_output` (B, E) is not normalised; arguments as there."""
        return self.vision_model(pixel_values, *inputs, **options)

    def get_text_features(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_ignored: Any
    ) -> BaseModelOutputWithPooling:
        """The text tower's output, whose `pooler_output` (T, E) is not normalised.

        Args:
            input_ids: (T, context length), padded.
            attention_mask: None or all 1. The model was trained with padding attended to.

        Raises:
            InvalidInput: texts of another length, or a mask with zeros.
        """
        length = self.text_model.config.context_length
        if input_ids.shape[1] != length:
            raise InvalidInput(
                f"texts of {input_ids.shape[1]} tokens: pad them to {length} (padding='max_length')"
            )
        if attention_mask is not None and not bool(attention_mask.all()):
            raise InvalidInput(
                "an attention_mask with zeros: SigLIP 2 attends to padding, leave the mask out"
            )
        output = self.text_model(input_ids)
        return BaseModelOutputWithPooling(last_hidden_state=output.tokens, pooler_output=output.pooled)  # type: ignore[arg-type]

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        pixel_attention_mask: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_loss: bool | None = None,
        return_dict: bool | None = True,
        **options: Any,
    ) -> SiglipOutput | tuple:
        """Encode texts and images and compare all of them with each other.

        Args:
            input_ids: (T, context length).
            pixel_values: what the image tower takes.
            pixel_attention_mask: NaFlex only.
            spatial_shapes: NaFlex only.
            attention_mask: None or all 1.
            return_loss: also the sigmoid loss, the i-th text belonging to the i-th image.
            return_dict: False for a tuple.
            **options: go to the image tower.

        Returns:
            Unit `image_embeds` and `text_embeds`, logits both ways, and both towers' outputs.

        Raises:
            InvalidInput: as `get_text_features`, or an image tower without a pooling head.
        """
        if pixel_attention_mask is not None or spatial_shapes is not None:
            options |= {"pixel_attention_mask": pixel_attention_mask, "spatial_shapes": spatial_shapes}
        images = self.get_image_features(pixel_values, **options)
        texts = self.get_text_features(input_ids, attention_mask)
        if images.pooler_output is None or texts.pooler_output is None:
            raise InvalidInput("the image tower was made without its pooling head (vision_use_head=False)")
        image_embeds, text_embeds = normalize(images.pooler_output), normalize(texts.pooler_output)
        logits = self.logit_scale.exp() * (text_embeds @ image_embeds.T) + self.logit_bias
        loss = None
        if return_loss:
            signs = 2 * torch.eye(len(logits), device=logits.device) - 1
            loss = -F.logsigmoid(signs * logits).sum(-1).mean()
        output = SiglipOutput(
            loss=loss,
            logits_per_image=logits.T,
            logits_per_text=logits,
            text_embeds=text_embeds,
            image_embeds=image_embeds,
            text_model_output=texts,
            vision_model_output=images,
        )
        return output.to_tuple() if return_dict is False else output


class SiglipTwoTowers(_TwoTowers):
    """Both towers at a fixed resolution; `SiglipModel`'s twin."""

    config_class = SiglipConfig

    def __init__(self, config: SiglipConfig):
        assert isinstance(config.vision_config, SiglipVisionConfig)
        super().__init__(config, SiglipVisionTower(config.vision_config))


class Siglip2TwoTowers(_TwoTowers):
    """Both towers of NaFlex; `Siglip2Model`'s twin."""

    config_class = Siglip2Config

    def __init__(self, config: Siglip2Config):
        assert isinstance(config.vision_config, Siglip2VisionConfig)
        super().__init__(config, Siglip2VisionTower(config.vision_config))
