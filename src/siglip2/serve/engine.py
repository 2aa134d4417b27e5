"""The model behind the service: images and texts batched across requests, with bounds at the door."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from siglip2.encoder import Encoder
from siglip2.errors import InvalidImage
from siglip2.inputs.decode import FORMATS
from siglip2.inputs.image import PreparedImage
from siglip2.serve.batcher import Batcher, Tower
from siglip2.serve.errors import bad_request, overloaded, unusable_image
from siglip2.serve.places import Places
from siglip2.serve.settings import EngineSettings
from siglip2.serve.text_cache import TextCache
from siglip2.serve.timings import timed
from siglip2.similarity import sigmoid, to_unit_length

WARM_UP = 8
"""Images of the larger batch that runs before the first caller's."""

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class EncodedImages:
    """Vectors of a request's images.

    Attributes:
        embeddings: (B, E) float32 of unit length.
        tokens: (B,) patches of each.
    """

    embeddings: np.ndarray
    tokens: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class EncodedTexts:
    """Vectors of a request's texts.

    Attributes:
        embeddings: (T, E) float32 of unit length.
        tokens: (T,) tokens of each before padding, the end of text counted.
        cached_tokens: tokens of those that were not computed anew.
    """

    embeddings: np.ndarray
    tokens: tuple[int, ...]
    cached_tokens: int


class Engine:
    """Answers many requests at a time with one model.

    Decoding has threads of its own, each tower has one, and the event loop does neither.

    Attributes:
        places: of the requests that use it.
        images_in_flight: accepted by `embed_images` and not embedded; the same for texts.
    """

    def __init__(
        self,
        encoder: Encoder,
        settings: EngineSettings,
        *,
        images: "Tower[PreparedImage, np.ndarray] | None" = None,
        texts: "Tower[str, tuple[np.ndarray, int]] | None" = None,
    ):
        """Make an engine; `start` it inside the event loop.

        Args:
            encoder: the model; its towers run here unless others are given.
            settings: bounds and batches.
            images: what embeds prepared images.
            texts: what embeds texts.
        """
        self.encoder = encoder
        self.settings = settings
        # The encoder's own preprocessing, without its batching.
        self._image_inputs = encoder.image_preprocessor
        self._decoders = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="siglip2-decode")
        vision = encoder.checkpoint.config.vision
        self.images: Tower[PreparedImage, np.ndarray] = images or Batcher[PreparedImage, np.ndarray](
            self._run_images,
            name="images",
            max_batch=settings.max_image_batch,
            max_wait=settings.max_wait_seconds,
            size_of=lambda image: len(image.patches),
            max_size=settings.max_image_batch * vision.max_num_patches if vision.naflex else None,
            max_seconds=settings.max_batch_seconds,
        )
        self.texts: Tower[str, tuple[np.ndarray, int]] = texts or Batcher[str, tuple[np.ndarray, int]](
            self._run_texts,
            name="texts",
            max_batch=settings.max_text_batch,
            max_wait=settings.max_wait_seconds,
        )
        self._cache = TextCache(settings.cached_texts, encoder.embed_dim)
        self.places = Places(settings)
        self.images_in_flight = 0
        self.texts_in_flight = 0
        self.ready = False
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    async def start(self) -> None:
        """Begin to work, and run both towers a few times, so that the first callers do not pay for it."""
        self.images.start()
        self.texts.start()
        for together in (1, min(WARM_UP, self.settings.max_image_batch)):
            await self.probe(together)
        self.ready = True

    async def stop(self) -> None:
        """End both queues and the threads."""
        self.ready = False
        await self.images.stop()
        await self.texts.stop()
        self._decoders.shutdown(wait=True)

    @contextmanager
    def in_use(self, *, images: int = 0) -> Iterator[None]:
        """Keeps the engine running to the end of the block, also where another takes its place meanwhile.

        Args:
            images: that the block will embed.

        Raises:
            ApiError: 503, see `Places.take`.
        """
        self._users += 1
        self._unused.clear()
        try:
            with self.places.take(images):
                yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def retire(self) -> None:
        """End once nobody uses it any more."""
        self.ready = False
        await self._unused.wait()
        await self.stop()

    @property
    def stuck_seconds(self) -> float:
        """How long the slower tower's present batch has been running."""
        return max(self.images.running_seconds, self.texts.running_seconds)

    @property
    def in_trouble(self) -> bool:
        """Whether a tower's last batch failed."""
        return self.images.in_trouble or self.texts.in_trouble

    async def probe(self, together: int = 1) -> None:
        """A real pass of so many images and texts through both towers, past the cache and the bounds."""
        grey = np.full((32, 32, 3), 128, np.uint8)
        await self.images.submit([await self._decode(grey, None)] * together)
        await self.texts.submit(["a photo"] * together)

    async def embed_images(
        self, files: Sequence[bytes], params: Sequence[str], *, max_num_patches: int | None = None
    ) -> EncodedImages:
        """Embed image files.

        Args:
            files: B of them.
            params: where each stands in the request, for errors.
            max_num_patches: NaFlex only, the token budget of an image.

        Raises:
            ApiError: 422 for an unusable image, 503 if there is too much to do.
        """
        vision = self.encoder.checkpoint.config.vision
        if max_num_patches is not None and not vision.naflex:
            raise bad_request(
                f"This model takes {vision.image_size}-pixel squares; max_num_patches is for NaFlex models.",
                "max_num_patches",
            )
        with self._admitted(images=len(files)):
            with timed("decode"):
                prepared = await asyncio.gather(
                    *(self._decode(file, max_num_patches) for file in files), return_exceptions=True
                )
            for result, param in zip(prepared, params, strict=True):
                if isinstance(result, InvalidImage):
                    raise _unusable(param) from result
                if isinstance(result, BaseException):
                    raise result
            images = [result for result in prepared if isinstance(result, PreparedImage)]
            vectors = await self.images.submit(images)
        empty = np.zeros((0, self.encoder.embed_dim), np.float32)
        return EncodedImages(
            embeddings=np.stack(vectors) if vectors else empty,
            tokens=tuple(len(image.patches) for image in images),
        )

    async def embed_texts(self, texts: Sequence[str]) -> EncodedTexts:
        """Embed texts exactly as they stand; each distinct one is computed once and remembered.

        Raises:
            ApiError: 503 if there is too much to do.
        """
        known = self._cache.gather(texts)
        if known is not None:
            vectors, counts = known
            return EncodedTexts(
                embeddings=vectors, tokens=tuple(counts.tolist()), cached_tokens=int(counts.sum())
            )
        # Looked up before anything is awaited: later some may have made room for others.
        found = {text: self._cache.get(text) for text in texts}
        missing = [text for text, one in found.items() if one is None]
        with self._admitted(texts=len(missing)):
            for text, one in zip(missing, await self.texts.submit(missing), strict=True):
                found[text] = one
                self._cache.put(text, *one)
        new = set(missing)
        ones = [(text, one) for text in texts if (one := found[text]) is not None]
        return EncodedTexts(
            embeddings=np.stack([vector for _, (vector, _) in ones]),
            tokens=tuple(count for _, (_, count) in ones),
            cached_tokens=sum(count for text, (_, count) in ones if text not in new),
        )

    def logits(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """exp(t) * cosine + b of every pair: (A, E) and (B, E) to (A, B)."""
        return self.encoder.logit_scale * (left @ right.T) + np.float32(self.encoder.logit_bias)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """The logits' sigmoid: each pair on its own."""
        return sigmoid(logits)

    async def in_decoder(self, work: Callable[[], Result]) -> Result:
        """Run what reads image files, in the threads that decode. For blocks of `in_use`."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work)

    async def _decode(self, file: bytes | np.ndarray, max_num_patches: int | None) -> PreparedImage:
        return await self.in_decoder(
            lambda: self._image_inputs.prepare_one(file, max_num_patches=max_num_patches)
        )

    def _run_images(self, images: list[PreparedImage]) -> Sequence[np.ndarray]:
        features = self.encoder.runtime.encode_images(self._image_inputs.batch(images))
        return list(_finite(to_unit_length(features.pooled)))

    def _run_texts(self, texts: list[str]) -> Sequence[tuple[np.ndarray, int]]:
        return embed_token_ids(self.encoder, texts)

    @contextmanager
    def _admitted(self, *, images: int = 0, texts: int = 0) -> Iterator[None]:
        settings = self.settings
        if (images and self.images_in_flight + images > settings.max_images_in_flight) or (
            texts and self.texts_in_flight + texts > settings.max_texts_in_flight
        ):
            raise overloaded(seconds=self.places.seconds_ahead)
        self.images_in_flight += images
        self.texts_in_flight += texts
        try:
            yield
        finally:
            self.images_in_flight -= images
            self.texts_in_flight -= texts


def embed_token_ids(encoder: Encoder, texts: Sequence[str]) -> list[tuple[np.ndarray, int]]:
    """Unit vector (E,) of each text, and its tokens before padding, the end of text counted."""
    preprocessor = encoder.text_preprocessor
    ids = preprocessor(list(texts))
    vectors = _finite(to_unit_length(encoder.runtime.encode_texts(ids)))
    ends = (ids == preprocessor.tokenizer.eos_id).argmax(axis=1) + 1
    return [(vector, int(end)) for vector, end in zip(vectors, ends, strict=True)]


def _finite(vectors: np.ndarray) -> np.ndarray:
    """Vectors (B, E) without NaN and infinity: no score of any route can have one then.

    Raises:
        FloatingPointError: a tower gave one, as broken weights do.
    """
    if not np.isfinite(vectors).all():
        raise FloatingPointError("a tower gave numbers that are none: are the weights damaged?")
    return vectors


def _unusable(param: str) -> Exception:
    names = ", ".join(FORMATS)
    return unusable_image(f"The image cannot be read: it is damaged, too large, or none of {names}.", param)
