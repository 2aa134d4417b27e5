"""Images and texts to unit vectors of one space. Every use of the model goes through `Encoder`."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Literal, overload

import numpy as np

from siglip2.config import ImagePreset, Lowercase
from siglip2.errors import InvalidImage, InvalidInput
from siglip2.fingerprint import weights_fingerprint
from siglip2.inputs.image import ImagePreprocessor, PreparedImage
from siglip2.inputs.sources import ImageSource
from siglip2.inputs.text import TextPreprocessor, checked_lowercase
from siglip2.inputs.tokenizer import Tokenizer
from siglip2.pipeline import BrokenImage, PreparedImages, checked_batch_size, prepare_groups
from siglip2.progress import progress_bar
from siglip2.runtime.base import ImageFeatures, Precision, Runtime, RuntimeName
from siglip2.runtime.select import open_runtime
from siglip2.similarity import sigmoid, to_unit_length
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.load import load_checkpoint
from siglip2.weights.locate import default_model

CPU_BATCH = 16
"""Default batch on a processor: past it nothing gets faster, and results come in smaller steps."""

ACCELERATOR_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class EmbeddedImages:
    """A batch of results of `Encoder.stream_images`.

    Attributes:
        indices: (B,) int64, positions in the input of the rows of `embeddings`.
        embeddings: (B, E) float32, of unit length unless asked otherwise.
        broken: images of this stretch of the input that could not be used.
    """

    indices: np.ndarray
    embeddings: np.ndarray
    broken: tuple[BrokenImage, ...]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How well images and texts match.

    Attributes:
        logit: (B, T) float32, exp(t) * cosine + b.
        probability: (B, T) float32, its sigmoid: each pair on its own.
    """

    logit: np.ndarray
    probability: np.ndarray


@dataclass(frozen=True, kw_only=True)
class PatchFeatures:
    """The image tower's output for each patch of one image.

    Attributes:
        features: (h, w, D) float32 after the last norm and before pooling, not normalised.
        grid: (h, w), patches high and wide.
        pooled: (E,) float32, output of the attention-pooling head over all patches, not normalised.
    """

    features: np.ndarray
    grid: tuple[int, int]
    pooled: np.ndarray


class Encoder:
    """A model ready for use. Safe to call from several threads.

    Attributes:
        checkpoint: weights and shape.
        runtime: what runs the towers.
        model_id: what the model was called when it was loaded.
        logit_scale: exp(t), the factor of the cosine in a logit.
        logit_bias: b, added to it.
        image_preprocessor: images to the patches that the image tower takes.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        runtime: Runtime,
        *,
        model_id: str | None = None,
        image_preset: ImagePreset | None = None,
        lowercase: Lowercase | None = None,
    ):
        """Put a model together; most callers use `siglip2.load`.

        Args:
            checkpoint: weights and shape.
            runtime: runs its towers.
            model_id: name for messages and stored results.
            image_preset: how pixels reach the model's resolution; None as saved with the weights.
            lowercase: which letters of a text are lower-cased; None as saved with the weights.

        Raises:
            InvalidInput: an unknown preset, or another word than those of `Lowercase`.
        """
        self.checkpoint = checkpoint
        self.runtime = runtime
        self.model_id = model_id or checkpoint.source
        self.logit_scale = float(np.exp(checkpoint.read("logit_scale")[0]))
        self.logit_bias = float(checkpoint.read("logit_bias")[0])
        self._image_preset: ImagePreset = image_preset or checkpoint.preprocessing.image_preset
        self.image_preprocessor = ImagePreprocessor(checkpoint.config.vision, self._image_preset)
        self._lowercase: Lowercase = checked_lowercase(lowercase or checkpoint.preprocessing.lowercase)

    @property
    def embed_dim(self) -> int:
        """Width E of the embeddings."""
        return self.checkpoint.config.embed_dim

    @property
    def image_preset(self) -> ImagePreset:
        """How pixels reach the model's resolution."""
        return self._image_preset

    @property
    def lowercase(self) -> Lowercase:
        """Which letters of a text are lower-cased."""
        return self._lowercase

    @property
    def default_batch_size(self) -> int:
        """Images per batch where the caller names no number."""
        return CPU_BATCH if self.runtime.device.startswith("cpu") else ACCELERATOR_BATCH

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever the same input might give another embedding: weights, pixels, vocabulary, case.

        Runtime, device and precision of the computation are left out: their vectors are interchangeable.
        """
        text = (
            self.text_preprocessor.fingerprint if self.checkpoint.tokenizer is not None else "no vocabulary"
        )
        parts = (weights_fingerprint(self.checkpoint), self.image_preprocessor.fingerprint, text)
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]

    @overload
    def embed_images(
        self,
        images: Iterable[ImageSource],
        *,
        batch_size: int | None = ...,
        progress: bool = ...,
        max_num_patches: int | None = ...,
        on_error: Literal["raise"] = ...,
    ) -> np.ndarray: ...
    @overload
    def embed_images(
        self,
        images: Iterable[ImageSource],
        *,
        batch_size: int | None = ...,
        progress: bool = ...,
        max_num_patches: int | None = ...,
        on_error: Literal["skip"],
    ) -> tuple[np.ndarray, list[BrokenImage]]: ...
    def embed_images(
        self,
        images: Iterable[ImageSource],
        *,
        batch_size: int | None = None,
        progress: bool = False,
        max_num_patches: int | None = None,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> np.ndarray | tuple[np.ndarray, list[BrokenImage]]:
        """Embed images.

        Args:
            images: paths, bytes, open files, Pillow images or (H, W, 3) arrays; any number, also from an
                iterator, which may seek in or close what it opened when it is asked for the next.
            batch_size: images per run of the tower.
            progress: show a bar with rate and time left on standard error.
            max_num_patches: NaFlex only, the token budget of an image.
            on_error: `raise` stops at the first unusable image; `skip` leaves such images out.

        Returns:
            (B, E) float32 of unit length, in the order of the input; (0, E) for no images. With
            `on_error="skip"` a pair: the rows of the usable images, and a list of the others, which says
            what is wrong with each and where it was.

        Raises:
            InvalidImage: an image cannot be used; names it.
            InvalidInput: one image instead of several, or another `on_error`.
        """
        if on_error not in ("raise", "skip"):
            raise InvalidInput(f"on_error is {on_error!r}; it must be 'raise' or 'skip'")
        parts: list[np.ndarray] = [np.zeros((0, self.embed_dim), np.float32)]
        broken: list[BrokenImage] = []
        for part in self.stream_images(
            images, batch_size=batch_size, progress=progress, max_num_patches=max_num_patches
        ):
            if part.broken and on_error == "raise":
                raise InvalidImage(part.broken[0].reason)
            parts.append(part.embeddings)
            broken.extend(part.broken)
        embeddings = np.concatenate(parts)
        return (embeddings, broken) if on_error == "skip" else embeddings

    def stream_images(
        self,
        images: Iterable[ImageSource],
        *,
        batch_size: int | None = None,
        progress: bool = False,
        max_num_patches: int | None = None,
        normalize: bool = True,
    ) -> Iterator[EmbeddedImages]:
        """Embed images and give the results batch by batch, in constant memory.

        Unusable images are reported in the results, not raised. Arguments as in `embed_images`; without
        `normalize` the embeddings are the raw output of the pooling head, on which probes are fitted.
        """
        encoded = self._encode(images, batch_size, progress, max_num_patches, return_patches=False)
        for group, features in encoded:
            pooled = np.zeros((0, self.embed_dim), np.float32) if features is None else features.pooled
            embeddings = to_unit_length(pooled) if normalize else pooled
            yield EmbeddedImages(indices=group.indices, embeddings=embeddings, broken=group.broken)

    def embed_texts(
        self, texts: Iterable[str], *, batch_size: int | None = None, progress: bool = False
    ) -> np.ndarray:
        """Embed texts exactly as they stand; no template is added.

        Args:
            texts: any number, also from an iterator. Beyond 63 tokens the rest of a text is not seen.
            batch_size: texts per run of the tower.
            progress: show a bar with rate and time left on standard error.

        Returns:
            (T, E) float32 of unit length, in the order of the input; (0, E) for no texts.

        Raises:
            InvalidInput: one string instead of several, something that is no text, or a model that has
                no vocabulary beside its weights.
        """
        if isinstance(texts, str):
            raise InvalidInput(f"expected several texts, got the single string {texts!r}: put it in a list")
        size = checked_batch_size(batch_size, 4 * self.default_batch_size)
        total = len(texts) if isinstance(texts, Sized) else None
        parts: list[np.ndarray] = [np.zeros((0, self.embed_dim), np.float32)]
        remaining = iter(texts)
        with progress_bar("texts", total, enabled=progress) as advance:
            while batch := list(islice(remaining, size)):
                self.runtime.prepare_text_tower()  # while the vocabulary is read, a second for a large one
                parts.append(to_unit_length(self.runtime.encode_texts(self.text_preprocessor(batch))))
                advance(len(batch))
        return np.concatenate(parts)

    def tokenize(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids as the text tower takes them, (T, context_length) int32: end token, then padding.

        Raises:
            InvalidInput: something that is no text, or a model that has no vocabulary beside its weights.
        """
        return self.text_preprocessor(list(texts))

    def release_text_tower(self) -> None:
        """Free the text tower and its vocabulary, half of the memory; the next text reads them again.

        For a long run over images when all texts are embedded.
        """
        self.__dict__.pop("text_preprocessor", None)
        self.runtime.release_text_tower()

    def score(self, images: Iterable[ImageSource], texts: Iterable[str]) -> Scores:
        """Compare every image with every text.

        Args:
            images: B images, as in `embed_images`.
            texts: T texts, exactly as they stand.

        Returns:
            Logits and probabilities, (B, T) each.

        Raises:
            InvalidImage: an image cannot be used.
            InvalidInput: a text cannot be used.
        """
        cosine = self.embed_images(images) @ self.embed_texts(texts).T
        logit = self.logit_scale * cosine + np.float32(self.logit_bias)
        return Scores(logit=logit, probability=sigmoid(logit))

    def patch_features(
        self,
        images: Iterable[ImageSource],
        *,
        batch_size: int | None = None,
        progress: bool = False,
        max_num_patches: int | None = None,
    ) -> list[PatchFeatures]:
        """Features of each patch, for dense tasks and as tokens of a multimodal model.

        Arguments as in `embed_images`.

        Raises:
            InvalidImage: an image cannot be used.
        """
        results: list[PatchFeatures] = []
        encoded = self._encode(images, batch_size, progress, max_num_patches, return_patches=True)
        for group, features in encoded:
            if group.broken:
                raise InvalidImage(group.broken[0].reason)
            assert features is not None
            assert features.patches is not None
            rows = zip(features.patches, features.pooled, group.images, strict=True)
            for patches, pooled, image in rows:
                height, width = image.grid
                # A copy, so that one image does not keep the padded batch alive.
                grid = patches[: height * width].reshape(height, width, -1).copy()
                results.append(PatchFeatures(features=grid, grid=image.grid, pooled=pooled.copy()))
        return results

    def _encode(
        self,
        images: Iterable[ImageSource],
        batch_size: int | None,
        progress: bool,
        max_num_patches: int | None,
        *,
        return_patches: bool,
    ) -> Iterator[tuple[PreparedImages, ImageFeatures | None]]:
        size = checked_batch_size(batch_size, self.default_batch_size)
        total = len(images) if isinstance(images, Sized) else None

        def prepare(image: ImageSource) -> PreparedImage:
            return self.image_preprocessor.prepare_one(image, max_num_patches=max_num_patches)

        with progress_bar("images", total, enabled=progress) as advance:
            for group in prepare_groups(images, prepare, size):
                features = None
                if group.images:
                    batch = self.image_preprocessor.batch(group.images)
                    features = self.runtime.encode_images(batch, return_patches=return_patches)
                yield group, features
                advance(group.num_seen)

    @cached_property
    def text_preprocessor(self) -> TextPreprocessor:
        """Texts to the token ids that the text tower takes."""
        if self.checkpoint.tokenizer is None:
            raise InvalidInput(
                f"{self.model_id} has no tokenizer.json or tokenizer.model beside its weights, "
                "so it embeds images only; copy the vocabulary of the published model there"
            )
        tokenizer = Tokenizer.from_file(self.checkpoint.tokenizer)
        return TextPreprocessor(tokenizer, self.checkpoint.config.text.context_length, self._lowercase)


def load(
    model: str | Path | None = None,
    *,
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    device: str | None = None,
    image_preset: ImagePreset | None = None,
    lowercase: Lowercase | None = None,
    revision: str | None = None,
    offline: bool = False,
) -> Encoder:
    """Load a model.

    Args:
        model: `nano` (bundled), a released name (`base-patch16-256`), a repository of the hub, a folder or a
            file. None takes the environment variable SIGLIP2_MODEL, or google/siglip2-base-patch16-256.
        runtime: `openvino` needs no torch; `torch` runs on GPUs; `auto` chooses and says what in the log.
        precision: of the computation; `auto` is the fastest floating-point one of the hardware.
        device: for torch: `cpu`, `cuda`, `cuda:1`, `mps`.
        image_preset: how pixels reach the model's resolution; None as saved with the weights.
        lowercase: which letters of a text are lower-cased; None as saved with the weights.
        revision: branch, tag or commit on the hub.
        offline: look in the hub's local cache only.

    Raises:
        ModelNotFound: the name leads nowhere, or the hub cannot be reached.
        InvalidCheckpoint: what is there is not a SigLIP 2 model.
        InvalidInput: a runtime, device or precision that is not available here, or an unknown preset or
            `lowercase`.
    """
    name = default_model() if model is None else model
    checkpoint = load_checkpoint(name, revision=revision, offline=offline)
    opened = open_runtime(checkpoint, runtime=runtime, precision=precision, device=device)
    return Encoder(checkpoint, opened, model_id=str(name), image_preset=image_preset, lowercase=lowercase)
