"""Scaled JPEG decoding hardly changes what the model sees: measured with the bundled model."""

import numpy as np

import siglip2
from siglip2.inputs.image import ImagePreprocessor


def test_embeddings_keep_a_cosine_of_0999(shared_data):
    encoder = siglip2.load("nano", precision="float32")
    photos = sorted((shared_data / "photos").glob("*.jpg"))
    pooled = []
    for scaled in (True, False):
        prepare = ImagePreprocessor(encoder.checkpoint.config.vision, scaled_decoding=scaled)
        features = encoder.runtime.encode_images(prepare(photos)).pooled
        pooled.append(features / np.linalg.norm(features, axis=1, keepdims=True))
    cosine = (pooled[0] * pooled[1]).sum(axis=1)
    assert len(cosine) >= 35
    assert cosine.min() > 0.999, photos[cosine.argmin()]
    assert cosine.min() < 1, "no photo was decoded at reduced scale"
