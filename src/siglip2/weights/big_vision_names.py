"""How big_vision's parameter tree corresponds to the canonical tensors.

Every canonical tensor is one or three big_vision arrays, reshaped and, for the kernels, transposed: flax
keeps kernels as (inputs, outputs), split into heads where there are heads (big_vision `models/vit.py`,
`models/proj/image_text/text_transformer.py`, `naflex_vit.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from siglip2.config import ModelConfig
from siglip2.weights.shapes import Shape

BLOCKS = {"img": "img/Transformer/encoderblock", "txt": "txt/Encoder_0/encoderblock"}
"""Where each tower's blocks are: here if stacked along a first axis, else one by one with `_0`, ... added."""


_QUERY_KEY_VALUE = ("query", "key", "value")


@dataclass(frozen=True)
class Correspondence:
    """One canonical tensor and its parts in big_vision's tree.

    Attributes:
        canonical: name of the tensor.
        parts: names of the arrays without `params/`; three for a fused query-key-value, else one. In a
            block they start with its tower's entry in `BLOCKS`.
        shape: shape of each part (of one block).
        transposed: whether a part, flattened to a matrix, is the transpose of the canonical one.
        block: number of the block, or None outside of blocks.
    """

    canonical: str
    parts: tuple[str, ...]
    shape: Shape
    transposed: bool = False
    block: int | None = None

    def array_name(self, part: str, stacked: frozenset[str]) -> str:
        """Name of the array that holds a part, in a file whose `stacked` towers are stacked."""
        if not self.in_stack(stacked) and self.block is not None:
            stem = BLOCKS[self.tower]
            return f"{stem}_{self.block}{part.removeprefix(stem)}"
        return part

    def in_stack(self, stacked: frozenset[str]) -> bool:
        """Whether the array holds this tensor of every block, along a first axis."""
        return self.block is not None and self.tower in stacked

    @property
    def tower(self) -> str:
        """`img` or `txt`, or the name of a scalar."""
        return self.parts[0].split("/")[0]


def correspondences(config: ModelConfig) -> list[Correspondence]:
    """Every canonical tensor of a model with its place in big_vision's tree."""
    return [*_image_tower(config), *_text_tower(config), *_scalars()]


def _scalars() -> Iterator[Correspondence]:
    yield Correspondence("logit_scale", ("t",), (1,))
    yield Correspondence("logit_bias", ("b",), (1,))


def _image_tower(config: ModelConfig) -> Iterator[Correspondence]:
    vision = config.vision
    side, width, grid = vision.patch_size, vision.width, vision.position_grid
    canonical = "vision_model.embeddings"
    kernel = (vision.patch_dim, width) if vision.naflex else (side, side, vision.num_channels, width)
    positions = (grid, grid, width) if vision.naflex else (1, grid**2, width)
    yield Correspondence(f"{canonical}.patch_embedding.weight", ("img/embedding/kernel",), kernel, True)
    yield Correspondence(f"{canonical}.patch_embedding.bias", ("img/embedding/bias",), (width,))
    yield Correspondence(f"{canonical}.position_embedding.weight", ("img/pos_embedding",), positions)
    for block in range(vision.depth):
        layer = f"vision_model.encoder.layers.{block}"
        yield from _block(layer, BLOCKS["img"], width, vision.mlp_dim, vision.num_heads, block)
    yield from _norm("vision_model.post_layernorm", "img/Transformer/encoder_norm", width)
    head, tree = "vision_model.head", "img/MAPHead_0"
    attention = f"{tree}/MultiHeadDotProductAttention_0"
    heads = (vision.num_heads, vision.head_dim)
    kernels = tuple(f"{attention}/{part}/kernel" for part in _QUERY_KEY_VALUE)
    biases = tuple(f"{attention}/{part}/bias" for part in _QUERY_KEY_VALUE)
    yield Correspondence(f"{head}.probe", (f"{tree}/probe",), (1, 1, width))
    yield Correspondence(f"{head}.attention.in_proj_weight", kernels, (width, *heads), True)
    yield Correspondence(f"{head}.attention.in_proj_bias", biases, heads)
    yield from _linear(f"{head}.attention.out_proj", f"{attention}/out", (*heads, width))
    yield from _norm(f"{head}.layernorm", f"{tree}/LayerNorm_0", width)
    yield from _mlp(f"{head}.mlp", f"{tree}/MlpBlock_0", width, vision.mlp_dim)


def _text_tower(config: ModelConfig) -> Iterator[Correspondence]:
    text = config.text
    embeddings = "text_model.embeddings"
    table = (text.vocab_size, text.width)
    yield Correspondence(f"{embeddings}.token_embedding.weight", ("txt/Embed_0/embedding",), table)
    positions = (1, text.context_length, text.width)
    yield Correspondence(f"{embeddings}.position_embedding.weight", ("txt/pos_embedding",), positions)
    for block in range(text.depth):
        layer = f"text_model.encoder.layers.{block}"
        yield from _block(layer, BLOCKS["txt"], text.width, text.mlp_dim, text.num_heads, block)
    yield from _norm("text_model.final_layer_norm", "txt/Encoder_0/encoder_norm", text.width)
    yield from _linear("text_model.head", "txt/head", (text.width, config.embed_dim))


def _block(
    layer: str, tree: str, width: int, mlp_dim: int, num_heads: int, block: int
) -> Iterator[Correspondence]:
    heads = (num_heads, width // num_heads)
    attention = f"{tree}/MultiHeadDotProductAttention_0"
    yield from _norm(f"{layer}.layer_norm1", f"{tree}/LayerNorm_0", width, block)
    yield from _norm(f"{layer}.layer_norm2", f"{tree}/LayerNorm_1", width, block)
    for letter, part in zip("qkv", _QUERY_KEY_VALUE, strict=True):
        projection = f"{layer}.self_attn.{letter}_proj"
        yield Correspondence(
            f"{projection}.weight", (f"{attention}/{part}/kernel",), (width, *heads), True, block
        )
        yield Correspondence(f"{projection}.bias", (f"{attention}/{part}/bias",), heads, False, block)
    yield from _linear(f"{layer}.self_attn.out_proj", f"{attention}/out", (*heads, width), block)
    yield from _mlp(f"{layer}.mlp", f"{tree}/MlpBlock_0", width, mlp_dim, block)


def _linear(name: str, tree: str, kernel: Shape, block: int | None = None) -> Iterator[Correspondence]:
    yield Correspondence(f"{name}.weight", (f"{tree}/kernel",), kernel, True, block)
    yield Correspondence(f"{name}.bias", (f"{tree}/bias",), kernel[-1:], False, block)


def _norm(name: str, tree: str, width: int, block: int | None = None) -> Iterator[Correspondence]:
    yield Correspondence(f"{name}.weight", (f"{tree}/scale",), (width,), False, block)
    yield Correspondence(f"{name}.bias", (f"{tree}/bias",), (width,), False, block)


def _mlp(
    name: str, tree: str, width: int, mlp_dim: int, block: int | None = None
) -> Iterator[Correspondence]:
    yield from _linear(f"{name}.fc1", f"{tree}/Dense_0", (width, mlp_dim), block)
    yield from _linear(f"{name}.fc2", f"{tree}/Dense_1", (mlp_dim, width), block)
