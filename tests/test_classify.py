"""Labels, prompts, thresholds and calibration; on a tiny model of random weights."""

import json

import numpy as np
import pytest

from siglip2.calibration import fit_calibration
from siglip2.classify import NONE_OF_THESE, ZeroShotClassifier, ensemble_prompts
from siglip2.encoder import Encoder
from siglip2.errors import InvalidImage, InvalidInput
from siglip2.prompts import PLAIN, canonicalize, label_prompts, resolve_templates
from tiny_model import random_photo, tiny_encoder

LABELS = ["cat", "dog", "moon"]
PHOTOS = [random_photo(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(
    ("text", "keep", "expected"),
    [
        ("A_Photo of  a {}.", "{}", "a photo of a {}"),
        ("itap of my {}!", "{}", "itap of my {}"),
        ("{}", "{}", "{}"),
        ("kite (bird of prey)", ",", "kite bird of prey"),
        ("Cock, rooster's", ",", "cock, roosters"),
        ("ÉCLAIR  Ω", ",", "éclair ω"),
        ("semi-trailer", "", "semitrailer"),
        ("a, {b}, {} c.", ",", "a, b, c"),
    ],
)
def test_canonical_form(text, keep, expected):
    assert canonicalize(text, keep=keep) == expected


def test_template_sets_are_clips():
    assert resolve_templates("plain") == (PLAIN,)
    best, paper = resolve_templates("clip8"), resolve_templates("clip81")
    assert len(best) == 8
    assert len(set(paper)) == 81
    assert set(best) <= set(paper)
    assert best[0] == "itap of a {}."
    assert resolve_templates("a drawing of {}") == ("a drawing of {}",)


@pytest.mark.parametrize("templates", ["clip80", "no place", ["{} and {}"], ["fine {}", "not"], [], [3]])
def test_bad_templates_are_refused(templates):
    with pytest.raises(InvalidInput, match="template"):
        resolve_templates(templates)


@pytest.mark.parametrize(
    ("label", "template", "expected"),
    [
        ("cat", "a photo of a {}.", "a photo of a cat"),
        ("a cat", "a photo of a {}.", "a photo of a cat"),
        ("An apple", "a photo of the {}.", "a photo of the apple"),
        ("a cat", "{}", "a cat"),
        ("a cat", "this is {}", "this is a cat"),
        ("the {} of braces", "a {}", "a of braces"),
        ("a", "a photo of a {}.", "a photo of a a"),
        ("area", "a {}", "a area"),
    ],
)
def test_prompts_of_a_label(label, template, expected):
    assert label_prompts(label, [template]) == (expected,)


def test_prompts_can_be_left_as_they_are():
    assert label_prompts("C++", ["Code in {}!"], canonical=False) == ("Code in C++!",)
    with pytest.raises(InvalidInput, match="punctuation"):
        label_prompts("?!", ["a {}"])


def test_predictions_carry_logit_probability_and_score(encoder):
    classifier = ZeroShotClassifier(encoder, LABELS)
    scores = encoder.score(PHOTOS, [f"a photo of a {label}" for label in LABELS])
    for row, predictions in enumerate(classifier.classify(PHOTOS)):
        assert sorted(each.label for each in predictions) == sorted(LABELS)
        assert [each.logit for each in predictions] == sorted((e.logit for e in predictions), reverse=True)
        for each in predictions:
            column = LABELS.index(each.label)
            assert each.logit == pytest.approx(scores.logit[row, column], abs=1e-4)
            assert each.probability == pytest.approx(scores.probability[row, column], abs=1e-5)
            share = np.exp(scores.logit[row])[column] / np.exp(scores.logit[row]).sum()
            assert each.score == pytest.approx(share, abs=1e-4)


def test_multi_label_scores_are_probabilities(encoder):
    [predictions] = ZeroShotClassifier(encoder, LABELS, multi_label=True).classify(PHOTOS[:1])
    assert len(predictions) == 3
    assert all(each.score == each.probability for each in predictions)


def test_ensembles_average_unit_vectors(encoder):
    classifier = ZeroShotClassifier(encoder, LABELS, templates=["a {}", "the {}", "{}"])
    for label, embedding in zip(LABELS, classifier.label_embeddings, strict=True):
        mean = encoder.embed_texts([f"a {label}", f"the {label}", label]).mean(axis=0)
        np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), atol=1e-5)
        assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)
    uneven = ensemble_prompts(encoder, [["a cat"], ["a dog", "the dog"]])
    np.testing.assert_allclose(uneven[0], encoder.embed_texts(["a cat"])[0], atol=1e-5)


def test_labels_are_embedded_once(encoder, monkeypatch):
    classifier = ZeroShotClassifier(encoder, LABELS)
    classifier.classify(PHOTOS[:1])
    monkeypatch.setattr(encoder, "embed_texts", None)
    classifier.classify(PHOTOS[1:])


def test_own_prompts_replace_the_templates_of_their_label(encoder):
    classifier = ZeroShotClassifier(
        encoder, LABELS, prompts={"cat": ["A tabby, asleep.", "kitten"], "dog": "Hound"}, templates="clip8"
    )
    assert classifier.prompts["cat"] == ("a tabby, asleep", "kitten")
    assert classifier.prompts["dog"] == ("hound",)
    assert len(classifier.prompts["moon"]) == 8


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([], {}, "no labels"),
        ("cat", {}, "put it in a list"),
        (["cat", " "], {}, "empty"),
        (["cat", "cat"], {}, "same text"),
        (["a cat", "Cat!"], {}, "same text"),
        (["cat"], {"prompts": {"dog": "hound"}}, "'dog'"),
        (["cat"], {"prompts": {"cat": []}}, "prompts of label 'cat' are empty"),
        (["cat"], {"threshold": 1.5}, "between 0 and 1"),
        (["cat"], {"templates": "no place"}, "template"),
    ],
)
def test_mistakes_are_explained(encoder, labels, options, message):
    with pytest.raises(InvalidInput, match=message):
        ZeroShotClassifier(encoder, labels, **options)


def test_without_canonical_form_case_still_distinguishes_labels(encoder):
    assert len(ZeroShotClassifier(encoder, ["c", "c.", "c'"], canonicalize=False).labels) == 3


def test_top_k_cuts_the_ranking(encoder):
    classifier = ZeroShotClassifier(encoder, LABELS)
    [everything], [best] = classifier.classify(PHOTOS[:1]), classifier.classify(PHOTOS[:1], top_k=1)
    assert best == everything[:1]
    with pytest.raises(InvalidInput, match="top_k"):
        classifier.classify(PHOTOS, top_k=0)
    assert classifier.classify([]) == []


def test_threshold_gives_an_explicit_none_of_these(encoder):
    [plain] = ZeroShotClassifier(encoder, LABELS).classify(PHOTOS[:1])
    best = plain[0].probability
    [below] = ZeroShotClassifier(encoder, LABELS, threshold=best * 0.99).classify(PHOTOS[:1])
    assert below == plain
    [above] = ZeroShotClassifier(encoder, LABELS, threshold=min(1, best * 1.01)).classify(PHOTOS[:1])
    assert above[0].label == NONE_OF_THESE
    assert above[1:] == plain
    expected = np.prod([1 - each.probability for each in plain])
    assert above[0].probability == pytest.approx(expected, abs=1e-5)
    assert above[0].logit == pytest.approx(np.log(expected / (1 - expected)), abs=1e-3)


def test_multi_label_threshold_keeps_what_holds(encoder):
    [plain] = ZeroShotClassifier(encoder, LABELS, multi_label=True).classify(PHOTOS[:1])
    between = (plain[0].probability + plain[1].probability) / 2
    [held] = ZeroShotClassifier(encoder, LABELS, multi_label=True, threshold=between).classify(PHOTOS[:1])
    assert held == plain[:1]
    [none] = ZeroShotClassifier(encoder, LABELS, multi_label=True, threshold=1.0).classify(PHOTOS[:1])
    assert [each.label for each in none] == [NONE_OF_THESE]


def test_streams_report_broken_images(encoder):
    classifier = ZeroShotClassifier(encoder, LABELS)
    parts = list(classifier.stream([PHOTOS[0], b"x", PHOTOS[1]], batch_size=2))
    assert [part.indices for part in parts] == [(0,), (2,)]
    assert parts[0].broken[0].index == 1
    with pytest.raises(InvalidImage, match="image 1"):
        classifier.classify([PHOTOS[0], b"x"])


def simulated_pairs(num_images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cosines as published models give them, and labels drawn from a scale of 90 and a bias of -9."""
    rng = np.random.default_rng(seed)
    cosine = rng.normal(0.05, 0.05, (num_images, 10))
    target = rng.random(cosine.shape) < 1 / (1 + np.exp(9 - 90 * cosine))
    return cosine, target


def test_calibration_finds_the_scale_and_bias_of_many_examples():
    fitted = fit_calibration(*simulated_pairs(4000), logit_scale=110, logit_bias=-16)
    assert fitted.logit_scale == pytest.approx(90, rel=0.05)
    assert fitted.logit_bias == pytest.approx(-9, rel=0.05)
    assert fitted.loss_after < fitted.loss_before


def test_calibration_is_the_minimum_of_its_objective():
    cosine, target = simulated_pairs(20)
    fitted = fit_calibration(cosine, target, logit_scale=110, logit_bias=-16)

    def objective(scale: float, bias: float) -> float:
        logit = scale * cosine + bias
        shift = bias + scale * 16 / 110
        prior = 0.5 * (((scale - 110) / 27.5) ** 2 + (shift / 5) ** 2)
        return (np.logaddexp(0, logit) - target * logit).sum() + prior

    best = objective(fitted.logit_scale, fitted.logit_bias)
    for scale, bias in [(1, 0), (-1, 0), (0, 0.1), (0, -0.1), (1, -0.1), (-1, 0.1)]:
        assert objective(fitted.logit_scale + scale, fitted.logit_bias + bias) > best


def test_five_separated_examples_do_not_explode():
    cosine = np.full((5, 3), 0.02)
    target = np.eye(3, dtype=bool)[[0, 1, 2, 0, 1]]
    cosine[target] = 0.12
    fitted = fit_calibration(cosine, target, logit_scale=110, logit_bias=-16)
    assert 80 < fitted.logit_scale < 140
    assert fitted.logit_scale * 0.12 + fitted.logit_bias > 0 > fitted.logit_scale * 0.02 + fitted.logit_bias


def test_contradicting_examples_are_refused():
    cosine, target = simulated_pairs(500)
    with pytest.raises(InvalidInput, match="same order"):
        fit_calibration(cosine, ~target, logit_scale=110, logit_bias=-16)
    with pytest.raises(InvalidInput, match="at least one"):
        fit_calibration(cosine[:0], target[:0], logit_scale=110, logit_bias=-16)


def test_calibrated_classifier_survives_saving(encoder, tmp_path):
    classifier = ZeroShotClassifier(encoder, LABELS, templates="clip8", threshold=0.4)
    before = classifier.classify(PHOTOS)
    truth = [ranking[0].label if ranking[0].label in LABELS else ranking[1].label for ranking in before]
    fitted = classifier.calibrate(PHOTOS, truth)
    assert fitted.loss_after < fitted.loss_before
    assert (classifier.logit_scale, classifier.logit_bias) == (fitted.logit_scale, fitted.logit_bias)
    after = classifier.classify(PHOTOS)
    assert after != before

    path = tmp_path / "classifier.json"
    classifier.save(path)
    assert json.loads(path.read_text())["model"] == "tiny"
    again = ZeroShotClassifier.load(path, encoder)
    assert again.classify(PHOTOS) == after

    other = tiny_encoder(tmp_path, seed=1)
    with pytest.raises(InvalidInput, match="calibrated with tiny"):
        ZeroShotClassifier.load(path, other)
    classifier.calibration = None
    classifier.save(path)
    assert ZeroShotClassifier.load(path, other).labels == tuple(LABELS)


def test_calibration_takes_several_labels_or_none_per_image(encoder):
    classifier = ZeroShotClassifier(encoder, LABELS, multi_label=True)
    best = [ranking[0].label for ranking in classifier.classify(PHOTOS[:2])]
    assert classifier.calibrate(PHOTOS[:3], [[best[0]], [best[1], "moon"], []]).num_examples == 3
    with pytest.raises(InvalidInput, match="'bird' is not one of"):
        classifier.calibrate(PHOTOS[:1], ["bird"])
    with pytest.raises(InvalidInput, match="2 images need as many labels, got 1"):
        classifier.calibrate(PHOTOS[:2], ["cat"])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "siglip2 classifier 1"}', "null"])
def test_other_files_are_no_classifiers(encoder, tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=r"other\.json is not a classifier"):
        ZeroShotClassifier.load(path, encoder)
    with pytest.raises(InvalidInput, match="cannot be read"):
        ZeroShotClassifier.load(tmp_path / "none.json", encoder)
