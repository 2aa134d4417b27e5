"""What several tests of other packages' interfaces need."""

import pytest


@pytest.fixture
def registered():
    """Our classes behind the Auto classes, for one test."""
    modeling_auto = pytest.importorskip("transformers.models.auto.modeling_auto")
    from siglip2.interop.transformers import register

    mappings = (modeling_auto.MODEL_MAPPING, modeling_auto.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING)
    before = [dict(each._extra_content) for each in mappings]
    register()
    yield
    for mapping, content in zip(mappings, before, strict=True):
        mapping._extra_content.clear()
        mapping._extra_content.update(content)
