"""In a process of its own, as training is: copies of one that has run a test suite are another matter."""

import tests.train.conftest as given
import torch
from tests.train.test_stages import unwrapped

from siglip2.train.ahead import Preparation, prepare_ahead


def main() -> None:
    recipe, data, tokenize = (
        unwrapped(each)() for each in (given.tiny_recipe, given.tiny_data, given.tokenize)
    )
    preparation = Preparation(recipe, data, tokenize, 0, 1)
    ways = [list(prepare_ahead(preparation, range(3, 8), workers)) for workers in (0, 2)]
    assert [len(way) for way in ways] == [5, 5]
    for one, other in zip(*ways, strict=True):
        assert one.texts == other.texts
        assert one.keys == other.keys
        for name in ("ids", "text_of_image", "positions", "random"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        for name in ("pictures", "crops"):
            for ours, theirs in zip(getattr(one, name), getattr(other, name), strict=True):
                assert torch.equal(ours, theirs), name
    assert len({tuple(drawn.keys) for drawn in ways[0]}) == 5
    print("the same")


if __name__ == "__main__":
    main()
