"""The two towers as OpenVINO graphs, built straight from a checkpoint's tensors.

The same towers as `siglip2.network`, without torch. Weights become constants that point into the
memory-mapped file where it holds float32. Axes: B images or texts, N patches or tokens, D width, H heads,
K = D / H.
"""

import numpy as np
import openvino as ov
import openvino.opset13 as ops
from openvino.preprocess import PrePostProcessor

from siglip2.config import TextConfig, VisionConfig
from siglip2.runtime.openvino_memory import writable_view
from siglip2.weights.checkpoint import Checkpoint

PATCHES, POSITIONS, MASK = "patches", "positions", "key_bias"
"""Inputs of the image tower: (B, N, P) in [-1, 1]; NaFlex also (B, N, D) and (B, 1, 1, N)."""
EMBEDDINGS = "embeddings"
"""Input of the text tower: (B, L, D), token embedding plus position."""
POOLED, PATCH_FEATURES = "pooled", "patch_features"

MASKED = -1e30
"""Added to the attention score of a padded key. Finite, because a row of -inf only would turn to NaN, and
within the range of bfloat16."""


class TowerBuilder:
    """Adds layers of one checkpoint to a graph, taking each tensor by its canonical name."""

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self.eps = checkpoint.config.layer_norm_eps

    def constant(self, value: np.ndarray) -> ov.Output:
        """A constant that shares the array's memory: a float32 file is not copied."""
        return ops.constant(writable_view(value), shared_memory=True).output(0)

    def tensor(self, name: str) -> ov.Output:
        """A tensor of the checkpoint."""
        return self.constant(self.checkpoint.read(name))

    def linear(self, x: ov.Output, name: str) -> ov.Output:
        """Weights of a checkpoint applied to the last axis, with their bias."""
        return self.affine(x, self.checkpoint.read(f"{name}.weight"), self.checkpoint.read(f"{name}.bias"))

    def affine(self, x: ov.Output, weight: np.ndarray, bias: np.ndarray) -> ov.Output:
        """A product with weight (outputs, inputs), transposed, plus the bias."""
        product = ops.matmul(x, self.constant(weight), transpose_a=False, transpose_b=True)
        return ops.add(product, self.constant(bias)).output(0)

    def norm(self, x: ov.Output, name: str) -> ov.Output:
        """Layer norm over the last axis, population variance, eps inside the root."""
        axes = ops.constant(np.array([-1], np.int64))
        centred = ops.mvn(x, axes, normalize_variance=True, eps=self.eps, eps_mode="inside_sqrt")
        scaled = ops.multiply(centred, self.tensor(f"{name}.weight"))
        return ops.add(scaled, self.tensor(f"{name}.bias")).output(0)

    def mlp(self, x: ov.Output, name: str) -> ov.Output:
        """Two layers with the tanh approximation of GELU."""
        hidden = ops.gelu(self.linear(x, f"{name}.fc1"), "tanh").output(0)
        return self.linear(hidden, f"{name}.fc2")

    def attend(
        self, query: ov.Output, key: ov.Output, value: ov.Output, num_heads: int, key_bias: ov.Output | None
    ) -> ov.Output:
        """Scaled dot-product attention of (B, N, D) projections, heads merged again."""
        q, k, v = (_split_heads(each, num_heads) for each in (query, key, value))
        inputs = [q, k, v] if key_bias is None else [q, k, v, key_bias]
        return _merge_heads(ops.scaled_dot_product_attention(*inputs, causal=False).output(0))

    def layer(
        self, x: ov.Output, name: str, num_heads: int, key_bias: ov.Output | None, *, last_only: bool = False
    ) -> ov.Output:
        """One pre-norm block. With `last_only` the result is (B, 1, D), for the last position alone."""
        normed = self.norm(x, f"{name}.layer_norm1")
        query = normed
        if last_only:
            x, query = _last_position(x), _last_position(normed)
        attention = f"{name}.self_attn"
        attended = self.attend(
            self.linear(query, f"{attention}.q_proj"),
            self.linear(normed, f"{attention}.k_proj"),
            self.linear(normed, f"{attention}.v_proj"),
            num_heads,
            key_bias,
        )
        x = ops.add(x, self.linear(attended, f"{attention}.out_proj")).output(0)
        return ops.add(x, self.mlp(self.norm(x, f"{name}.layer_norm2"), f"{name}.mlp")).output(0)

    def pooling_head(self, tokens: ov.Output, vision: VisionConfig, key_bias: ov.Output | None) -> ov.Output:
        """Attention pooling by a learned probe (big_vision `models/vit.py` MAPHead), (B, D).

        The probe is the same for every image, so its projection is computed here, once.
        """
        head, width = "vision_model.head", vision.width
        weight = self.checkpoint.read(f"{head}.attention.in_proj_weight")
        bias = self.checkpoint.read(f"{head}.attention.in_proj_bias")
        probe = self.checkpoint.read(f"{head}.probe")
        query = self.constant(probe @ weight[:width].T + bias[:width])
        batch = ops.gather(ops.shape_of(tokens), np.array([0]), np.array(0))
        shape = ops.concat([batch, ops.constant(np.array([1, width]))], axis=0)
        attended = self.attend(
            ops.broadcast(query, shape).output(0),
            self.affine(tokens, weight[width : 2 * width], bias[width : 2 * width]),
            self.affine(tokens, weight[2 * width :], bias[2 * width :]),
            vision.num_heads,
            key_bias,
        )
        x = self.linear(attended, f"{head}.attention.out_proj")
        # The residual goes from the attention's output; there is none from the probe.
        x = ops.add(x, self.mlp(self.norm(x, f"{head}.layernorm"), f"{head}.mlp"))
        return ops.squeeze(x, np.array([1])).output(0)


def build_vision_graph(checkpoint: Checkpoint) -> ov.Model:
    """The image tower for any batch size, and for NaFlex any number of patches.

    Outputs: `pooled` (B, D) and `patch_features` (B, N, D) after the last norm.
    """
    vision = checkpoint.config.vision
    builder = TowerBuilder(checkpoint)
    count = -1 if vision.naflex else vision.num_positions
    patches = _parameter(PATCHES, [-1, count, vision.patch_dim])
    inputs, key_bias = [patches], None
    if vision.naflex:
        positions = _parameter(POSITIONS, [-1, -1, vision.width])
        mask = _parameter(MASK, [-1, 1, 1, -1])
        inputs += [positions, mask]
        key_bias = mask.output(0)
        table = positions.output(0)
    else:
        table = builder.constant(checkpoint.read("vision_model.embeddings.position_embedding.weight")[None])
    x = builder.linear(patches.output(0), "vision_model.embeddings.patch_embedding")
    x = ops.add(x, table).output(0)
    for index in range(vision.depth):
        x = builder.layer(x, f"vision_model.encoder.layers.{index}", vision.num_heads, key_bias)
    features = builder.norm(x, "vision_model.post_layernorm")
    pooled = builder.pooling_head(features, vision, key_bias)
    return _model([_result(pooled, POOLED), _result(features, PATCH_FEATURES)], inputs, "siglip2_vision")


def build_text_graph(checkpoint: Checkpoint) -> ov.Model:
    """The text tower from embeddings on, for any batch size. Output: `pooled` (B, E).

    Padding is attended to and the last position is pooled, so the last block runs for that position alone.
    """
    text: TextConfig = checkpoint.config.text
    builder = TowerBuilder(checkpoint)
    embeddings = _parameter(EMBEDDINGS, [-1, text.context_length, text.width])
    x = embeddings.output(0)
    for index in range(text.depth):
        last = index == text.depth - 1
        x = builder.layer(x, f"text_model.encoder.layers.{index}", text.num_heads, None, last_only=last)
    x = builder.norm(_last_position(x), "text_model.final_layer_norm")
    pooled = ops.squeeze(builder.linear(x, "text_model.head"), np.array([1])).output(0)
    return _model([_result(pooled, POOLED)], [embeddings], "siglip2_text")


def keep_stream_narrow(graph: ov.Model) -> ov.Model:
    """Give an image tower's patch features in bfloat16.

    From the last product on OpenVINO computes an output in that output's type. Every block's sum lies on
    such a path to the patch features, so float32 there would keep the whole residual stream in float32,
    with a conversion before and after each sum: 5 % of the tower's time, and no nearer to float32, because
    what is added comes from products in bfloat16.
    """
    outputs = PrePostProcessor(graph)
    outputs.output(PATCH_FEATURES).tensor().set_element_type(ov.Type.bf16)
    return outputs.build()


def _model(results: list[ov.Node], inputs: list[ov.Node], name: str) -> ov.Model:
    return ov.Model(results, inputs, name)  # pyright: ignore[reportGeneralTypeIssues]  # wrong stubs


def _parameter(name: str, shape: list[int]) -> ov.Node:
    node = ops.parameter(shape, np.float32, name=name)
    node.output(0).set_names({name})
    return node


def _result(value: ov.Output, name: str) -> ov.Node:
    node = ops.result(value, name=f"{name}_result")
    node.output(0).set_names({name})
    return node


def _split_heads(x: ov.Output, num_heads: int) -> ov.Output:
    """(B, N, D) to (B, H, N, K)."""
    width = x.get_partial_shape()[2].get_length()
    heads = ops.reshape(x, np.array([0, 0, num_heads, width // num_heads]), special_zero=True)
    return ops.transpose(heads, np.array([0, 2, 1, 3])).output(0)


def _merge_heads(x: ov.Output) -> ov.Output:
    """(B, H, N, K) to (B, N, D)."""
    shape = x.get_partial_shape()
    width = shape[1].get_length() * shape[3].get_length()
    return ops.reshape(ops.transpose(x, np.array([0, 2, 1, 3])), np.array([0, 0, width]), True).output(0)


def _last_position(x: ov.Output) -> ov.Output:
    """(B, N, D) to (B, 1, D)."""
    return ops.gather(x, np.array([-1]), np.array(1)).output(0)
