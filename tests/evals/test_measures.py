"""Measures against independent implementations and plain forms of the written protocol."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, jaccard_score, ndcg_score, top_k_accuracy_score
from tests.evals.conftest import unit

from siglip2.evals.intervals import resample
from siglip2.evals.metrics.average_precision import mean_average_precision
from siglip2.evals.metrics.boxes import box_iou, within
from siglip2.evals.metrics.calibration import reliability
from siglip2.evals.metrics.depth import depth_errors, normal_errors, normals_from_depth
from siglip2.evals.metrics.hits import retrieval_ranks
from siglip2.evals.metrics.ranking import any_right, best_classes, class_ranks
from siglip2.evals.metrics.segmentation import mean_iou, overlaps
from siglip2.evals.probes.least_squares import draw_shots, few_shot_predictions


def test_class_ranks_equal_scikit_learn_to_the_last_image():
    rng = np.random.default_rng(0)
    classes, labels = unit(rng, 40, 16), rng.integers(0, 40, 3000)
    images = classes[labels] + 0.5 * unit(rng, 3000, 16)
    ranks = class_ranks(images, classes, labels, chunk=700)
    for k in (1, 5):
        counted = top_k_accuracy_score(labels, images @ classes.T, k=k, labels=np.arange(40), normalize=False)
        assert (ranks < k).sum() == counted
    assert np.array_equal(best_classes(images, classes, chunk=999) == labels, ranks == 0)


def test_ties_count_against_the_model_unless_asked():
    same = np.ones((20, 4), np.float32) / 2
    labels = np.zeros(20, int)
    assert (class_ranks(same, same, labels) == 19).all()
    assert (class_ranks(same, same, labels, ties="for") == 0).all()
    ranks = retrieval_ranks(same, same, np.arange(20))
    assert (ranks.text_to_image == 19).all()
    assert (ranks.image_to_text == 19).all()
    ordered = retrieval_ranks(same, same, np.arange(20), ties="order")
    assert ordered.text_to_image.tolist() == list(range(20))


def test_any_of_several_right_classes():
    scores = np.array([[0.3, 0.9, 0.1], [0.5, 0.5, 0.1], [0.2, 0.1, 0.0], [0.4, 0.4, 0.4]])
    accepted = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]], bool)
    assert any_right(scores, accepted).tolist() == [True, False, False, True]
    assert any_right(scores, accepted, ties="for").tolist() == [True, True, False, True]


@pytest.mark.parametrize("levels", [1, 4, None])  # one score for all, four of them, no two alike
def test_mean_average_precision_equals_scikit_learn_in_every_resample(levels):
    rng = np.random.default_rng(6)
    labels, scores = rng.random((60, 3)) < 0.3, rng.random((60, 3))
    labels = labels[np.argsort(~labels[:, 0])]  # an order that flatters the first class
    if levels:
        scores = np.floor(scores * levels)
    measure, precisions = mean_average_precision(scores, labels)
    assert measure.value == pytest.approx(np.mean(list(precisions.values())))

    def theirs(weights: np.ndarray) -> np.ndarray:
        found = [
            [average_precision_score(labels[:, c], scores[:, c], sample_weight=row) for c in range(3)]
            for row in weights[:50]
        ]
        return np.mean(found, axis=1)

    assert measure.resamples is not None
    assert measure.resamples[:50] == pytest.approx(resample(theirs, 60))


def captioned(seed: int = 0):
    rng = np.random.default_rng(seed)
    images = unit(rng, 30, 8)
    owners = np.concatenate([np.arange(25), rng.integers(0, 25, 65)])  # five images have no caption
    return images, images[owners] + 0.6 * unit(rng, 90, 8), owners


def test_retrieval_equals_sorting_by_hand():
    images, texts, owners = captioned()
    ranks = retrieval_ranks(images, texts, owners, ks=(1, 5), chunk=7)
    scores = texts @ images.T
    by_text = np.argsort(-scores, axis=1)
    assert np.array_equal(
        ranks.text_to_image, [list(row).index(own) for row, own in zip(by_text, owners, strict=True)]
    )
    assert ranks.queried.tolist() == list(range(25))
    for query, best, recalled in zip(ranks.queried, ranks.image_to_text, ranks.recalled, strict=True):
        right = owners[np.argsort(-scores[:, query])] == query
        assert best == np.flatnonzero(right)[0]
        assert recalled == pytest.approx([right[:k].sum() / right.sum() for k in (1, 5)])


def test_discounted_gain_equals_scikit_learn():
    images, texts, owners = captioned(2)
    ranks = retrieval_ranks(images, texts, owners)
    scores = texts @ images.T
    for query, gain in zip(ranks.queried, ranks.gain, strict=True):
        relevant = (owners == query).astype(float)[None]
        assert gain == pytest.approx(ndcg_score(relevant, scores[:, query][None], k=10))


def test_retrieval_equals_clip_benchmark_to_the_last_query():
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")
    images, texts, owners = captioned(1)
    images, texts, owners = images[:25], texts, owners

    class Given(torch.nn.Module):
        def encode_image(self, x):
            return x

        def encode_text(self, x):
            return x

    texts_of = [[torch.from_numpy(text) for text in texts[owners == index]] for index in range(25)]
    loader = [(torch.from_numpy(images), texts_of)]
    found = theirs.evaluate(
        Given(), _Loader(loader), lambda each: torch.stack(list(each)), "cpu", amp=False, recall_k_list=[1, 5]
    )
    order = np.argsort(owners, kind="stable")
    ranks = retrieval_ranks(images, texts[order], owners[order])
    for k in (1, 5):
        assert found[f"image_retrieval_recall@{k}"] == pytest.approx((ranks.text_to_image < k).mean())
        assert found[f"text_retrieval_recall@{k}"] == pytest.approx((ranks.image_to_text < k).mean())


class _Loader(list):
    """What clip_benchmark wraps to number the images."""

    @property
    def dataset(self):
        return self


def test_few_shot_equals_the_plain_normal_equations():
    rng = np.random.default_rng(2)
    for count, width in ((60, 100), (300, 20)):  # both Gram matrices
        x, labels, test = (
            rng.normal(size=(count, width)),
            rng.integers(0, 6, count),
            rng.normal(size=(50, width)),
        )
        mean, deviation = x.mean(0), x.std(0) + 1e-5
        a = np.hstack([(x - mean) / deviation, np.full((count, 1), 100.0)])
        b = np.hstack([(test - mean) / deviation, np.full((50, 1), 100.0)])
        targets = np.where(np.arange(6) == labels[:, None], 1.0, -1.0)
        weights = np.linalg.solve(a.T @ a + 2**10 * np.eye(width + 1), a.T @ targets)
        assert np.array_equal(few_shot_predictions(x, labels, test, 6), (b @ weights).argmax(1))


def test_shots_are_drawn_by_class():
    labels = np.repeat([0, 1, 2], [50, 3, 20])
    chosen = draw_shots(labels, 10, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [10, 3, 10]
    assert not np.array_equal(chosen, draw_shots(labels, 10, seed=1))


def test_miou_sums_over_images_first():
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 4, (5, 20, 20))
    predicted = np.where(rng.random(targets.shape) < 0.7, targets, rng.integers(0, 4, targets.shape))
    targets[:, :3] = 255
    pairs = [overlaps(p, t, 6, ignore=255) for p, t in zip(predicted, targets, strict=True)]
    sums = [np.stack(part).sum(0) for part in zip(*pairs, strict=True)]
    kept = targets != 255
    expected = jaccard_score(targets[kept], predicted[kept], average="macro")
    assert mean_iou(*sums) == pytest.approx(expected)  # the two classes that nothing has are left out


def test_reliability_of_a_calibrated_and_of_a_boastful_model():
    rng = np.random.default_rng(4)
    stated = rng.random(20_000)
    honest = reliability(stated, rng.random(20_000) < stated)
    assert honest.error < 0.02
    assert reliability(np.full(1000, 0.9), np.arange(1000) % 2 == 0).error == pytest.approx(0.4)


def test_depth_errors_by_hand():
    target = np.array([[1.0, 2.0], [0.0, 4.0]])
    found = depth_errors(np.array([[1.1, 2.0], [9.0, 2.0]]), target)
    assert found["rmse"] == pytest.approx(np.sqrt((0.01 + 0 + 4) / 3))
    assert found["abs_rel"] == pytest.approx((0.1 + 0 + 0.5) / 3)
    assert found["delta_1"] == pytest.approx(2 / 3)


def test_normals_of_a_slanted_plane():
    # z = 2 + 0.3 x in camera coordinates: normal (0.3, 0, -1), up to length.
    focal, size = 100.0, 41
    x = (np.arange(size) - 20) / focal
    depth = np.tile(2 / (1 - 0.3 * x), (size, 1))
    normals = normals_from_depth(depth, focal)
    expected = np.array([0.3, 0, -1]) / np.hypot(0.3, 1)
    assert normals[20, 20] == pytest.approx(expected, abs=1e-3)
    assert (normals[0] == 0).all()
    errors = normal_errors(np.broadcast_to([0.0, 0, -1], normals.shape), normals)
    assert errors["angular_rmse"] == pytest.approx(np.degrees(np.arctan(0.3)), abs=0.1)


def test_normals_stop_at_edges_of_objects():
    depth = np.full((11, 11), 2.0)
    depth[:, 6:] = 4.0
    normals = normals_from_depth(depth, 50.0)
    assert (normals[5, 5:7] == 0).all()
    assert normals[5, 3] == pytest.approx([0, 0, -1])


def test_boxes():
    first = np.array([[0, 0, 2, 2], [0, 0, 1, 1]], float)
    second = np.array([[1, 1, 3, 3], [2, 2, 3, 3]], float)
    assert box_iou(first, second) == pytest.approx([1 / 7, 0])
    assert within((0.5, 0.5), first)
    assert not within((2.5, 2.5), first)
