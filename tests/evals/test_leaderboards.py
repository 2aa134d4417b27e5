"""The model as other suites load it."""

import warnings

import numpy as np
import pytest
from PIL import Image
from tests.tiny_model import random_photo, write_tiny_model

from siglip2.evals.metrics.hits import retrieval_ranks
from siglip2.similarity import to_unit_length


def test_mteb_runs_its_image_tasks_on_the_model(encoder):
    pytest.importorskip("mteb")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mteb's own
        import mteb

        from siglip2.evals.mteb_model import MtebModel

        results = mteb.mock_run(MtebModel(encoder))
    states = {name: type(state).__name__ for name, state in results.items() if state is not None}
    image_tasks = [name for name in states if "mage" in name or "Any" in name or "T2I" in name]
    assert len(image_tasks) >= 5
    assert results.all_passed, {
        name: state for name, state in results.items() if "Error" in type(state).__name__
    }


def half_clear() -> Image.Image:
    """A photo that can be seen through on one side, where it is laid over white."""
    picture = Image.fromarray(random_photo(9)).convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, picture.width // 2, picture.height))
    return picture


def test_mteb_sees_pictures_as_the_encoder_prepares_them(encoder):
    pytest.importorskip("mteb")
    from siglip2.evals.mteb_model import MtebModel

    (found,) = MtebModel(encoder).encode([{"image": [half_clear()]}], task_metadata=None)
    assert to_unit_length(found) == pytest.approx(encoder.embed_images([half_clear()])[0], abs=1e-5)


@pytest.mark.parametrize("naflex", [False, True])
def test_clip_benchmark_sees_pictures_as_the_encoder_prepares_them(tmp_path, naflex):
    """In their own shapes under NaFlex, though the suite stacks them; squashed to the tower's square else."""
    torch = pytest.importorskip("torch")
    from siglip2.evals.clip_benchmark_model import load_siglip2

    model, transform, _ = load_siglip2(str(write_tiny_model(tmp_path, naflex=naflex)))
    sizes = [(40, 52), (200, 50), (16, 90), (64, 64)]
    pictures = [Image.fromarray(random_photo(seed, *size)) for seed, size in enumerate(sizes)]
    pictures.append(half_clear())
    batch = torch.utils.data.default_collate([transform(picture) for picture in pictures])
    with torch.no_grad():
        found = model.encode_image(batch).numpy()
    assert found == pytest.approx(model.encoder.embed_images(pictures), abs=1e-5)


def test_clip_benchmark_loads_the_model_and_ranks_as_we_do(tmp_path):
    pytest.importorskip("clip_benchmark")
    torch = pytest.importorskip("torch")
    from siglip2.evals.clip_benchmark_model import load_siglip2

    path = write_tiny_model(tmp_path)
    model, transform, tokenize = load_siglip2(str(path))
    pictures = [Image.fromarray(random_photo(seed)) for seed in range(6)]
    texts = [f"Photo {index}" for index in range(6)]
    with torch.no_grad():
        images = model.encode_image(torch.stack([transform(picture) for picture in pictures]))
        words = torch.nn.functional.normalize(model.encode_text(tokenize(texts)), dim=-1)
    direct = model.encoder.embed_texts(texts)
    assert words.numpy() == pytest.approx(direct, abs=1e-5)
    assert (images.numpy() * model.encoder.embed_images(pictures)).sum(1).min() > 0.99
    ranks = retrieval_ranks(images.numpy(), words.numpy(), np.arange(6))
    assert ranks.text_to_image.shape == (6,)


def test_clip_benchmark_knows_the_type():
    pytest.importorskip("open_clip")
    pytest.importorskip("clip_benchmark.models")
    from siglip2.evals.clip_benchmark_model import load_siglip2, register

    register()
    from clip_benchmark import models  # pyright: ignore[reportMissingImports]

    assert models.TYPE2FUNC["siglip2"] is load_siglip2
