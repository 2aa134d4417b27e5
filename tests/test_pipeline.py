"""What the threads that prepare images may rely on, and what callers may."""

import threading
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageSequence

from siglip2.inputs.image import PreparedImage
from siglip2.pipeline import prepare_groups
from tiny_model import random_photo, tiny_encoder


def test_one_thread_at_a_time_holds_a_picture():
    held, lock = Counter(), threading.Lock()
    most = Counter()

    def prepare(image) -> PreparedImage:
        with lock:
            held[id(image)] += 1
            most[id(image)] = max(most[id(image)], held[id(image)])
        time.sleep(0.005)
        with lock:
            held[id(image)] -= 1
        return PreparedImage(patches=np.zeros((1, 3)), grid=(1, 1))

    again, other = Image.new("RGB", (2, 2)), Image.new("RGB", (2, 2))
    groups = list(prepare_groups([again, other] * 6, prepare, batch_size=3))
    assert np.concatenate([group.indices for group in groups]).tolist() == list(range(12))
    assert most == {id(again): 1, id(other): 1}


def test_frames_of_an_animation_are_read_before_it_goes_on(tmp_path):
    encoder = tiny_encoder(tmp_path)
    photos = [random_photo(seed, 200, 260) for seed in range(8)]
    first, *rest = [Image.fromarray(photo) for photo in photos]
    first.save(tmp_path / "frames.webp", save_all=True, append_images=rest, lossless=True)
    with Image.open(tmp_path / "frames.webp") as animation:
        found = encoder.embed_images(ImageSequence.Iterator(animation))
    np.testing.assert_allclose(found, encoder.embed_images(photos), atol=1e-6)


def test_pictures_of_their_own_are_prepared_side_by_side(monkeypatch):
    """As `convert` gives them: nothing of theirs is closed, so that a generator need not wait for each."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    both = threading.Barrier(2, timeout=20)

    def prepare(image) -> PreparedImage:
        both.wait()
        return PreparedImage(patches=np.zeros((1, 3)), grid=(1, 1))

    pictures = (Image.new("RGB", (2, 2)) for _ in range(4))
    (group,) = prepare_groups(pictures, prepare, batch_size=4)
    assert len(group.images) == 4


@pytest.mark.parametrize("opened", [Image.open, lambda path: path.open("rb")], ids=["picture", "file"])
def test_a_generator_may_close_what_it_gave(tmp_path, opened):
    encoder = tiny_encoder(tmp_path)
    photos = [random_photo(seed, 200, 260) for seed in range(8)]
    paths = [tmp_path / f"{seed}.png" for seed in range(8)]
    for photo, path in zip(photos, paths, strict=True):
        Image.fromarray(photo).save(path)

    def each():
        for path in paths:
            with opened(path) as file:
                yield file

    np.testing.assert_allclose(encoder.embed_images(each()), encoder.embed_images(photos), atol=1e-6)
