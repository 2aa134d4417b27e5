"""The OpenVINO runtime: both towers on a processor, without torch."""

import logging
import mmap
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import openvino as ov

from siglip2.errors import InvalidInput, Siglip2Error
from siglip2.inputs.batch import ImageBatch
from siglip2.runtime.alike import runs_of
from siglip2.runtime.base import ImageFeatures, Precision
from siglip2.runtime.openvino_graph import (
    PATCH_FEATURES,
    POOLED,
    build_text_graph,
    build_vision_graph,
    keep_stream_narrow,
)
from siglip2.runtime.openvino_inputs import TextInputs, VisionInputs
from siglip2.runtime.openvino_memory import mapped_file, release_pages, trim_heap
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.tensor import StoredTensor

TOKENS_PER_RUN = 2048
"""Larger batches run in pieces of about this many tokens: no slower, and the activations stay small."""

logger = logging.getLogger("siglip2")


class OpenVinoRuntime:
    """Runs the towers with OpenVINO. Each tower is compiled when it is first used.

    Safe to call from several threads: every call borrows an inference request of its own.
    """

    name = "openvino"
    device = "cpu"

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        precision: Precision = "auto",
        threads: int | None = None,
        int8_folder: Path | None = None,
    ):
        """Prepare to run a checkpoint.

        Args:
            checkpoint: weights; float32 files stay memory-mapped.
            precision: `auto` is bfloat16 where the processor multiplies it natively, else float32. `int8`
                runs the towers that `siglip2.runtime.openvino_int8.quantize` saved, and makes them if there
                are none.
            threads: processor threads; None leaves the choice to OpenVINO.
            int8_folder: where the int8 towers are; None is `openvino_int8` beside the weights.

        Raises:
            Siglip2Error: the processor lacks the precision that was asked for, or int8 towers cannot be made.
        """
        self.config = checkpoint.config
        self._core = ov.Core()
        self.precision = resolve_precision(self._core, precision)
        # int8 towers keep norms, softmax and residuals in the processor's fastest floating point.
        floating = resolve_precision(self._core, "auto") if self.precision == "int8" else self.precision
        narrow = floating == "bfloat16"
        self._options = _compile_options(threads, narrow=narrow)
        self._vision_inputs = VisionInputs(checkpoint)
        self._text_inputs = TextInputs(checkpoint)
        file = mapped_file(checkpoint.tensors["vision_model.post_layernorm.weight"].bits)
        if self.precision == "int8":
            # Imported here because most users never quantise.
            from siglip2.runtime.openvino_int8 import read_quantized

            towers = read_quantized(checkpoint, self._core, int8_folder)
            build_vision, build_text = towers.vision.build, towers.text.build
            vision_files, text_files = [towers.vision.file, file], [towers.text.file, file]
        else:
            build_vision, build_text = (
                partial(build_vision_graph, checkpoint),
                partial(build_text_graph, checkpoint),
            )
            vision_files = text_files = [file]
        finish = keep_stream_narrow if narrow else lambda graph: graph
        self._vision = _Tower(lambda: finish(build_vision()), self._compile, vision_files)
        self._text = _Tower(build_text, self._compile, text_files)
        processor = self._core.get_property("CPU", "FULL_DEVICE_NAME")
        logger.info("runtime openvino on %s in %s", processor, self.precision)

    def encode_images(self, batch: ImageBatch, *, return_patches: bool = False) -> ImageFeatures:
        """Run the image tower; patch features at padding mean nothing.

        Raises:
            InvalidInput: patches, grids or mask do not fit the model.
        """
        self._vision_inputs.check(batch)
        vision, (images, tokens) = self.config.vision, batch.patches.shape[:2]
        pooled = np.empty((images, vision.width), np.float32)
        patches = np.zeros((images, tokens, vision.width), np.float32) if return_patches else None
        for places, part in runs_of(batch, TOKENS_PER_RUN):
            with self._vision.run(self._vision_inputs.make(part)) as outputs:
                pooled[places] = outputs(POOLED)
                if patches is not None:
                    patches[places, : part.patches.shape[1]] = outputs(PATCH_FEATURES)
        return ImageFeatures(pooled=pooled, patches=patches)

    def encode_texts(self, ids: np.ndarray) -> np.ndarray:
        """Run the text tower on (T, context_length) token ids; (T, E) float32, not normalised.

        Raises:
            InvalidInput: ids of another length or outside of the vocabulary.
        """
        self._text_inputs.check(ids)
        pooled = np.empty((len(ids), self.config.embed_dim), np.float32)
        step = max(1, TOKENS_PER_RUN // self.config.text.context_length)
        for start in range(0, len(ids), step):
            part = slice(start, start + step)
            with self._text.run(self._text_inputs.make(ids[part])) as outputs:
                pooled[part] = outputs(POOLED)
        return pooled

    def prepare_text_tower(self) -> None:
        """Begin to compile the text tower in the background, where it is not compiled."""
        self._text.prepare()

    def release_text_tower(self) -> None:
        """Free the text tower's memory; the next texts compile it again, which takes about a second."""
        self._text.release()

    def _compile(self, graph: ov.Model) -> ov.CompiledModel:
        return self._core.compile_model(graph, "CPU", self._options)


class _Tower:
    """One graph, compiled when it is first used, and its idle inference requests."""

    def __init__(
        self,
        build: Callable[[], ov.Model],
        compile_graph: Callable[[ov.Model], ov.CompiledModel],
        files: Sequence[mmap.mmap | None],
    ):
        self._build = build
        self._compile = compile_graph
        self._files = [file for file in files if file is not None]
        self._compiled: Future[ov.CompiledModel] | None = None
        self._pages_held = False
        self._idle: list[ov.InferRequest] = []
        self._lock = threading.Lock()

    @contextmanager
    def run(self, inputs: dict[str, np.ndarray]) -> Iterator[Callable[[str], np.ndarray]]:
        """Run once; gives a function from an output's name to its values, valid inside the block."""
        compiled, request = self._borrow()
        try:
            request.infer({name: ov.Tensor(value) for name, value in inputs.items()})
            yield lambda name: _values(request.get_tensor(name))
        finally:
            with self._lock:
                # Released meanwhile: the request goes, and with it the last of what was compiled for it.
                if compiled is self._compiled:
                    self._idle.append(request)
                if self._pages_held:
                    for file in self._files:
                        release_pages(file)
                    self._pages_held = False
                    trim_heap()

    def prepare(self) -> None:
        """Begin to compile."""
        with self._lock:
            self._compile_once()

    def release(self) -> None:
        """Forget what was compiled; running requests finish."""
        with self._lock:
            self._idle.clear()
            self._compiled = None
        trim_heap()

    def _borrow(self) -> tuple[Future[ov.CompiledModel], ov.InferRequest]:
        with self._lock:
            compiled = self._compile_once()
            try:
                model = compiled.result()
            except BaseException:
                self._compiled = None  # the next call tries again
                raise
            return compiled, self._idle.pop() if self._idle else model.create_infer_request()

    def _compile_once(self) -> Future[ov.CompiledModel]:
        if self._compiled is None:
            graph = self._build()
            self._pages_held = bool(self._files)
            thread = ThreadPoolExecutor(1, thread_name_prefix="siglip2-compile")
            self._compiled = thread.submit(self._compile, graph)
            thread.shutdown(wait=False)
        return self._compiled


def resolve_precision(core: ov.Core, precision: Precision) -> Precision:
    """What `auto` means on this processor.

    Raises:
        Siglip2Error: bfloat16 was asked for and the processor has no instructions for it.
    """
    native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "auto":
        return "bfloat16" if native else "float32"
    if precision == "bfloat16" and not native:
        raise Siglip2Error(
            "this processor has no bfloat16 instructions, so OpenVINO would not be faster for less accuracy: "
            "use precision float32 or int8"
        )
    if precision not in ("float32", "bfloat16", "int8"):
        raise InvalidInput(f"precision {precision!r} is not one of auto, float32, bfloat16, int8")
    return precision


def _compile_options(threads: int | None, *, narrow: bool) -> dict[str, object]:
    options: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if narrow else "f32",
    }
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    return options


def _values(tensor: ov.Tensor) -> np.ndarray:
    """A float32 or bfloat16 tensor as float32; numpy has no bfloat16 and is told that it was float16."""
    if tensor.element_type == ov.Type.bf16:
        return StoredTensor(tensor.data.view(np.uint16), "bfloat16").float32()
    return tensor.data
