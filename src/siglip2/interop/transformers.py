"""The image tower as `transformers` and code for multimodal models know it.

The computation is `siglip2.network`'s; the configuration classes, names of weights and outputs are those of
`SiglipVisionModel` (fixed resolution) and `Siglip2VisionModel` (NaFlex), so folders written by either side
load in the other.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoModel,
    AutoModelForZeroShotImageClassification,
    PreTrainedModel,
    Siglip2Config,
    Siglip2VisionConfig,
    SiglipConfig,
    SiglipVisionConfig,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from siglip2.config import VisionConfig
from siglip2.errors import InvalidInput
from siglip2.interop.timm_names import TimmNames
from siglip2.network.attention_maps import layer_attention
from siglip2.network.transformer import Encoder
from siglip2.network.vision import PoolingAttention, PoolingHead, VisionEmbeddings


class ConvolutionEmbeddings(nn.Module):
    """Patch embedding of whole pictures, stored as the convolution that the published files hold."""

    def __init__(self, shape: VisionConfig):
        super().__init__()
        self.shape = shape
        side = shape.patch_size
        self.patch_embedding = nn.Conv2d(shape.num_channels, shape.width, side, stride=side)
        self.position_embedding = nn.Embedding(shape.num_positions, shape.width)

    def forward(
        self, pixels: Float[Tensor, "B C H W"], *, interpolate: bool = False
    ) -> Float[Tensor, "B N D"]:
        """Embed pixels in [-1, 1]; `interpolate` resizes the positions (bicubic, as `transformers` does).

        Raises:
            InvalidInput: the pictures have another size than the tower, without `interpolate`.
        """
        expected = (self.shape.image_size, self.shape.image_size)
        if not interpolate and tuple(pixels.shape[-2:]) != expected:
            raise InvalidInput(
                f"pictures of {pixels.shape[-2]}x{pixels.shape[-1]} pixels for a tower of "
                f"{expected[0]}x{expected[1]}: resize them, or pass interpolate_pos_encoding=True"
            )
        x = self.patch_embedding(pixels.to(self.patch_embedding.weight.dtype))
        table = self.position_embedding.weight
        grid, side = tuple(x.shape[-2:]), self.shape.position_grid
        if grid != (side, side):
            square = table.T.unflatten(1, (side, side))[None]
            resized = F.interpolate(square, size=grid, mode="bicubic", align_corners=False)
            table = resized[0].flatten(1).T
        return x.flatten(2).transpose(1, 2) + table


class _Tower(PreTrainedModel):
    base_model_prefix = "vision_model"
    main_input_name = "pixel_values"
    input_modalities = ["image"]  # noqa: RUF012 - as the base class has it
    supports_gradient_checkpointing = True
    _no_split_modules = ["EncoderLayer"]  # noqa: RUF012 - as the base class has it
    _supports_sdpa = True

    def __init__(self, config: SiglipVisionConfig | Siglip2VisionConfig, shape: VisionConfig):
        super().__init__(config)
        if config.hidden_act != "gelu_pytorch_tanh" or config.attention_dropout:
            raise InvalidInput(
                f"hidden_act {config.hidden_act} and attention_dropout {config.attention_dropout}: "
                "SigLIP 2 has gelu_pytorch_tanh and no dropout"
            )
        eps = config.layer_norm_eps
        self.embeddings: ConvolutionEmbeddings | VisionEmbeddings
        self.embeddings = VisionEmbeddings(shape) if shape.naflex else ConvolutionEmbeddings(shape)
        self.encoder = Encoder(shape.width, shape.depth, shape.mlp_dim, shape.num_heads, eps)
        self.post_layernorm = nn.LayerNorm(shape.width, eps=eps)
        self.head = PoolingHead(shape, eps) if config.vision_use_head else None
        self.post_init()

    @property
    def vision_model(self) -> "_Tower":
        """Itself: code for `transformers` 4 looks for the tower here."""
        return self

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.config.patch_size

    def get_input_embeddings(self) -> nn.Module:
        """The layer whose output needs a gradient when adapters train with checkpointing."""
        return self.embeddings.patch_embedding

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        init_weights(module)

    def _finish(
        self,
        x: Float[Tensor, "B N D"],
        mask: Bool[Tensor, "B N"] | None,
        output_hidden_states: bool | None,
        output_attentions: bool | None,
        return_dict: bool | None,
    ) -> BaseModelOutputWithPooling | tuple:
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        between: dict[str, Tensor] | None = {} if output_hidden_states or output_attentions else None
        encoded = self.encoder(x, mask, between)
        last = self.post_layernorm(encoded)
        states = None if between is None else (x, *between.values())
        attentions = None
        if output_attentions and states is not None:
            pairs = zip(self.encoder.layers, states, strict=False)
            attentions = tuple(layer_attention(layer, state, mask) for layer, state in pairs)
        output = BaseModelOutputWithPooling(
            last_hidden_state=last,
            pooler_output=None if self.head is None else self.head(last, mask),
            hidden_states=states if output_hidden_states else None,
            attentions=attentions,
        )
        return output.to_tuple() if return_dict is False else output


class SiglipVisionTower(_Tower, TimmNames):
    """The image tower at a fixed resolution; `SiglipVisionModel`'s twin."""

    config_class = SiglipVisionConfig

    def __init__(self, config: SiglipVisionConfig):
        super().__init__(config, _shape(config))

    def forward(
        self,
        pixel_values: Float[Tensor, "B C H W"],
        interpolate_pos_encoding: bool = False,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = True,
        **_ignored: Any,
    ) -> BaseModelOutputWithPooling | tuple:
        """Encode pictures in [-1, 1].

        Returns:
            `last_hidden_state` after the last norm; `pooler_output`, or None without the head; on request
            `hidden_states`, N + 1 of them and all before that norm, and `attentions`.

        Raises:
            InvalidInput: pictures of another size without `interpolate_pos_encoding`.
        """
        x = self.embeddings(pixel_values, interpolate=interpolate_pos_encoding)
        return self._finish(x, None, output_hidden_states, output_attentions, return_dict)


class Siglip2VisionTower(_Tower):
    """The NaFlex image tower; `Siglip2VisionModel`'s twin."""

    config_class = Siglip2VisionConfig

    def __init__(self, config: Siglip2VisionConfig):
        super().__init__(config, _shape(config))

    def forward(
        self,
        pixel_values: Float[Tensor, "B N P"],
        pixel_attention_mask: Tensor | None = None,
        spatial_shapes: Int[Tensor, "B 2"] | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = True,
        **_ignored: Any,
    ) -> BaseModelOutputWithPooling | tuple:
        """Encode patches in [-1, 1]; outputs as of `SiglipVisionTower.forward`.

        Args:
            pixel_values: flattened patches in the order (row, column, channel).
            pixel_attention_mask: true or 1 at real patches; None where none is padding.
            spatial_shapes: patches high and wide of each image; None for the position table's own grid.
            output_hidden_states: None as the configuration says.
            output_attentions: also the attention weights of every layer.
            return_dict: False for a tuple.

        Raises:
            InvalidInput: a grid has more than 64 patches on a side.
        """
        mask = None
        if pixel_attention_mask is not None:
            real = pixel_attention_mask.bool()
            # A row of padding alone attends to all of it: a softmax over nothing would be NaN.
            mask = real | ~real.any(1, keepdim=True)
        x = self.embeddings(pixel_values.to(self.dtype), spatial_shapes)
        return self._finish(x, mask, output_hidden_states, output_attentions, return_dict)


def register() -> None:
    """Make `AutoModel` build our models from now on.

    Image towers for `siglip_vision_model` and `siglip2_vision_model`, both towers for `siglip` and `siglip2`;
    the latter for `AutoModelForZeroShotImageClassification` too.
    """
    # It imports this module.
    from siglip2.interop.two_towers import Siglip2TwoTowers, SiglipTwoTowers

    AutoModel.register(SiglipVisionConfig, SiglipVisionTower, exist_ok=True)
    AutoModel.register(Siglip2VisionConfig, Siglip2VisionTower, exist_ok=True)
    for auto in (AutoModel, AutoModelForZeroShotImageClassification):
        auto.register(SiglipConfig, SiglipTwoTowers, exist_ok=True)
        auto.register(Siglip2Config, Siglip2TwoTowers, exist_ok=True)


def init_weights(module: nn.Module) -> None:
    """Fill what `transformers`' own initialisation does not know."""
    if isinstance(module, PoolingAttention):
        nn.init.xavier_uniform_(module.in_proj_weight)
        nn.init.zeros_(module.in_proj_bias)
    elif isinstance(module, PoolingHead):
        nn.init.xavier_uniform_(module.probe)


def _shape(config: SiglipVisionConfig | Siglip2VisionConfig) -> VisionConfig:
    naflex = isinstance(config, Siglip2VisionConfig)
    side, patch = (None if naflex else config.image_size), config.patch_size
    if not isinstance(patch, int) or not isinstance(side, int | None):
        raise InvalidInput(f"image_size {side} and patch_size {patch} have to be whole numbers of pixels")
    grid = int(config.num_patches**0.5) if naflex else (side or 0) // patch
    return VisionConfig(
        width=config.hidden_size,
        depth=config.num_hidden_layers,
        mlp_dim=config.intermediate_size,
        num_heads=config.num_attention_heads,
        patch_size=patch,
        image_size=side,
        position_grid=grid,
        num_channels=config.num_channels,
    )
