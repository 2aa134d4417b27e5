"""NaFlex sizes and position tables against the reference."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siglip2.errors import InvalidInput
from siglip2.inputs.naflex import naflex_size, position_table

CASES = [
    # height, width, patch, budget -> height, width; the first seven are big_vision's ops_naflex_test.py
    (48, 48, 3, 121, 33, 33),
    (112, 109, 7, 225, 105, 105),
    (176, 176, 11, 64, 88, 88),
    (256, 64, 16, 12, 96, 32),
    (256, 64, 8, 15, 56, 16),
    (63, 241, 16, 16, 32, 128),
    (16, 512, 16, 16, 16, 256),
    (224, 224, 16, 256, 256, 256),
    (224, 1024, 16, 256, 112, 512),
    (2853, 1000, 16, 1024, 848, 304),
    (2200, 1700, 16, 256, 288, 224),
    (480, 640, 16, 256, 224, 288),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("arithmetic", ["float32", "float64"])
def test_sizes_of_the_reference_tests(case, arithmetic):
    assert naflex_size(*case[:4], arithmetic=arithmetic) == case[4:]


def test_sizes_of_the_reference_implementation(golden_dir):
    rows = json.loads((golden_dir / "naflex_sizes.json").read_text())["rows"]
    assert len(rows) == 400
    for *case, height, width in rows:
        if height == -1:
            with pytest.raises(InvalidInput):
                naflex_size(*case)
        else:
            assert naflex_size(*case) == (height, width), case


def test_single_and_double_precision_differ_where_a_side_meets_a_patch():
    assert naflex_size(9, 45, 14, 1024, arithmetic="float32") == (196, 994)
    assert naflex_size(9, 45, 14, 1024, arithmetic="float64") == (196, 980)


@settings(deadline=None, max_examples=200)
@given(
    height=st.integers(1, 20_000),
    width=st.integers(1, 20_000),
    patch=st.sampled_from([8, 14, 16, 32]),
    budget=st.integers(1, 4096),
)
def test_sizes_keep_the_budget_and_the_shape(height, width, patch, budget):
    tall, wide = naflex_size(height, width, patch, budget)
    assert tall % patch == wide % patch == 0
    assert 1 <= (tall // patch) * (wide // patch) <= budget
    # Before rounding up to whole patches both sides were scaled by one ratio.
    low = max((tall - patch) / height, (wide - patch) / width)
    high = min(tall / height, wide / width)
    assert low <= high * (1 + 1e-5) or patch in (tall, wide)
    assert naflex_size(width, height, patch, budget) == (wide, tall)


def test_an_image_beyond_the_reference_is_refused():
    with pytest.raises(InvalidInput, match="too large or too narrow"):
        naflex_size(1, 10**8, 16, 16)
    with pytest.raises(InvalidInput, match="at least 1"):
        naflex_size(0, 10, 16, 256)


@pytest.mark.parametrize("grid", [(1, 1), (1, 64), (16, 16), (7, 31), (64, 64), (12, 21), (16, 5)])
def test_position_tables_equal_torch_antialiased_interpolation(grid):
    torch = pytest.importorskip("torch")
    table = np.random.default_rng(0).normal(size=(16, 16, 24)).astype(np.float32)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(table).permute(2, 0, 1)[None], size=grid, mode="bilinear", antialias=True
    )
    wanted = wanted[0].flatten(1).T.numpy()
    ours = position_table(table, grid)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, wanted, atol=1e-5)
    np.testing.assert_array_equal(ours, position_table(table.reshape(256, 24), grid))


def test_the_learned_grid_is_the_table_itself():
    table = np.random.default_rng(1).normal(size=(256, 8)).astype(np.float32)
    resized = position_table(table, (16, 16))
    np.testing.assert_array_equal(resized, table)
    assert not np.shares_memory(resized, table)


def test_more_than_64_patches_on_a_side_need_max_side():
    table = np.ones((16, 16, 4), np.float32)
    with pytest.raises(InvalidInput, match="max_side"):
        position_table(table, (1, 65))
    np.testing.assert_allclose(position_table(table, (1, 65), max_side=65), 1)


def test_a_table_that_is_not_square_is_refused():
    with pytest.raises(InvalidInput, match="not square"):
        position_table(np.ones((15, 4), np.float32), (2, 2))
