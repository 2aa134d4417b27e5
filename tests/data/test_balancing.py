"""Planted bias is removed, balanced data is left alone, and captions say who is in the picture."""

import gzip
import json

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs siglip2[data]")

from siglip2.data.balance import (
    Balance,
    DualAscent,
    association_bias,
    balance,
    find_constraints,
    representation_bias,
)
from siglip2.data.traits import Attribute, Traits, WordLists, traits_of_captions, traits_of_table
from siglip2.errors import InvalidInput


def planted(
    num_samples: int, male: float, among: dict[str, tuple[float, float]], unknown: float = 0.0
) -> Traits:
    """Samples with so many men; each label has a probability for men and one for women."""
    rng = np.random.default_rng(0)
    is_male = rng.random(num_samples) < male
    codes = np.where(is_male, 0, 1)
    labels = {
        label: rng.random(num_samples) < np.where(is_male, of_men, of_women)
        for label, (of_men, of_women) in among.items()
    }
    codes[rng.random(num_samples) < unknown] = -1
    keys = [str(number) for number in range(num_samples)]
    return Traits(keys, (Attribute("gender", ("male", "female"), codes),), labels)


BALANCED = {"doctor": (0.2, 0.2), "nurse": (0.05, 0.05), "farmer": (0.5, 0.5)}
BIASED = {"doctor": (0.3, 0.1), "nurse": (0.02, 0.1), "farmer": (0.5, 0.5)}


def biases(traits, weights, settings=None):
    constraints = find_constraints(traits, settings or Balance())
    return representation_bias(constraints, weights), association_bias(constraints, weights)


def test_planted_bias_is_removed():
    traits = planted(20_000, 0.65, BIASED)
    before = biases(traits, np.ones(20_000))
    assert before[0] > 0.14
    assert before[1] > 0.3
    weights = balance(traits)
    after = biases(traits, weights)
    assert after[0] < 0.02
    # The tolerance among 1,000 nurses is three standard errors, 0.05.
    assert after[1] < 0.07
    assert weights.max() == 1
    assert weights.min() >= 0
    assert 0.5 < weights.mean() < 0.95
    for constraint in find_constraints(traits, Balance()):
        assert abs(constraint.share(weights) - constraint.target) < constraint.tolerance + 0.01


def test_balanced_data_is_left_alone():
    weights = balance(planted(20_000, 0.5, BALANCED))
    np.testing.assert_allclose(weights, 1.0, atol=1e-9)


def test_small_labels_are_not_balanced_for_noise():
    traits = planted(400, 0.5, {f"label {number}": (0.1, 0.1) for number in range(20)})
    assert balance(traits).mean() > 0.99
    assert balance(traits, Balance(standard_errors=0)).mean() < 0.95, "which is what it would do without"


def test_samples_of_unknown_attribute_keep_one_weight():
    traits = planted(10_000, 0.8, BIASED, unknown=0.5)
    weights = balance(traits)
    unknown = traits.attributes[0].codes == -1
    assert np.ptp(weights[unknown]) < 1e-9
    assert biases(traits, weights)[0] < 0.03


def test_observed_targets_change_associations_alone():
    traits = planted(20_000, 0.7, BIASED)
    settings = Balance(targets="observed")
    weights = balance(traits, settings)
    male = traits.attributes[0].codes == 0
    assert abs(weights[male].sum() / weights.sum() - male.mean()) < 0.015
    assert biases(traits, weights, settings)[1] < 0.07 < biases(traits, np.ones(20_000), settings)[1]


def test_targets_of_ones_own_and_three_values():
    rng = np.random.default_rng(1)
    codes = rng.choice(3, size=9000, p=[0.6, 0.3, 0.1])
    traits = Traits([str(n) for n in range(9000)], (Attribute("age", ("young", "middle", "old"), codes),), {})
    own = {"age": {"young": 0.4, "middle": 0.4, "old": 0.2}}
    weights = balance(traits, Balance(targets=own))
    for number, target in enumerate((0.4, 0.4, 0.2)):
        assert weights[codes == number].sum() / weights.sum() == pytest.approx(target, abs=0.03)
    with pytest.raises(InvalidInput, match="add up to 1"):
        balance(traits, Balance(targets={"age": {"young": 1.0}}))


def test_batches_come_near_to_what_all_samples_come_to():
    """Samples as they stream by, a few hundred at a time, with steps that grow smaller."""
    traits, settings = planted(20_000, 0.55, {"doctor": (0.3, 0.2)}), Balance(standard_errors=0)
    constraints = find_constraints(traits, settings)
    rows = np.stack([np.where(each.among, each.has - each.target, 0.0) for each in constraints], axis=1)
    streamed = DualAscent(constraints, settings, 0.9)
    rng = np.random.default_rng(0)
    for step in range(2000):
        streamed.update(rows[rng.integers(0, len(rows), 300)], step=1 / (1 + step / 50))
    whole = balance(traits, settings)
    weights = streamed.weights(rows)
    assert np.abs(weights / weights.max() - whole).max() < 0.05
    assert np.ptp(whole) > 0.2


def test_nothing_known():
    with pytest.raises(InvalidInput, match="nothing to balance"):
        balance(planted(100, 0.5, {}, unknown=1.0))


def test_words_in_captions():
    lists = WordLists.read()
    captions = [
        ["A man in a blue coat", "The doctor speaks"],
        ["a woman and a man"],
        ["Her bike", "a GIRL on a bicycle ."],
        ["a human mandolin"],
    ]
    traits = traits_of_captions([str(n) for n in range(4)], captions, lists)
    assert traits.attributes[0].values == ("male", "female")
    assert traits.attributes[0].codes.tolist() == [0, -1, 1, -1]
    assert traits.labels["doctor"].tolist() == [True, False, False, False]
    assert traits.labels["bike"].tolist() == [False, False, True, False]


def test_lists_of_ones_own(tmp_path):
    path = tmp_path / "words.json"
    path.write_text(
        json.dumps({"attributes": {"species": {"dog": ["Hund"], "cat": ["Katze"]}}, "labels": {}})
    )
    traits = traits_of_captions(["0"], [["ein hund"]], WordLists.read(path))
    assert traits.attributes[0].codes.tolist() == [0]
    path.write_text(json.dumps({"attributes": {"species": {"dog": ["two words"]}}, "labels": {}}))
    with pytest.raises(InvalidInput, match="single"):
        WordLists.read(path)
    path.write_text("{}")
    with pytest.raises(InvalidInput, match="expected"):
        WordLists.read(path)


def test_a_table_of_traits(tmp_path):
    path = tmp_path / "traits.csv"
    path.write_text("key,attribute.gender,label.doctor\na,male,1\nb,,0\nc,female,1\n")
    traits = traits_of_table(path)
    assert traits.attributes[0].values == ("female", "male")
    assert traits.attributes[0].codes.tolist() == [1, -1, 0]
    assert traits.labels["doctor"].tolist() == [True, False, True]
    path.write_text("key,gender\na,male\n")
    with pytest.raises(InvalidInput, match=r"attribute\.NAME"):
        traits_of_table(path)


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("TRUE", "FALSE"), ("True", "false")])
def test_labels_of_a_table_in_any_spelling(tmp_path, yes, no):
    path = tmp_path / "traits.csv"
    path.write_text(f"key,attribute.gender,label.doctor\na,male,{yes}\nb,female,{no}\n")
    assert traits_of_table(path).labels["doctor"].tolist() == [True, False]


def test_labels_of_a_table_in_json(tmp_path):
    path = tmp_path / "traits.jsonl"
    rows = [{"key": 1, "attribute.gender": "male", "label.doctor": value} for value in (True, 0, 1.0)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert traits_of_table(path).labels["doctor"].tolist() == [True, False, True]
    path.write_text(path.read_text() + '{"key": 4}\n')
    with pytest.raises(InvalidInput, match=r"row 4, label\.doctor is nothing"):
        traits_of_table(path)


@pytest.mark.parametrize("cell", ["yes", "2", "nan", ""])
def test_a_label_that_is_neither_yes_nor_no(tmp_path, cell):
    path = tmp_path / "traits.csv"
    path.write_text(f"key,attribute.gender,label.doctor\na,male,1\nb,female,{cell}\n")
    with pytest.raises(InvalidInput, match=r"row 2, label\.doctor .*expected 0 or 1"):
        traits_of_table(path)


def test_command(tmp_path, capsys):
    pytest.importorskip("webdataset", reason="needs siglip2[data]")
    pytest.importorskip("matplotlib", reason="needs siglip2[data]")
    from pyarrow import parquet
    from webdataset import TarWriter  # pyright: ignore[reportAttributeAccessIssue]

    from siglip2.cli.main import run

    with TarWriter(str(tmp_path / "0.tar"), encoder=False, mtime=0) as tar:
        for number in range(300):
            person = "man" if number % 3 else "woman"
            tar.write({"__key__": f"{number:03d}", "txt": f"a {person} smiles".encode()})
    out, page = tmp_path / "balance.parquet", tmp_path / "page.html"
    assert run(["data", "balance", str(tmp_path), str(out), "--report", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "representation bias" in printed
    rows = parquet.read_table(out).to_pylist()
    kept = {
        person: sum(row["keep"] for row in rows if bool(int(row["key"]) % 3) == person)
        for person in (True, False)
    }
    assert kept[True] / sum(kept.values()) == pytest.approx(0.5, abs=0.1)
    assert page.read_text(encoding="utf-8").count("data:image/png") == 2


def test_real_captions_agree_with_the_list_of_perceived_gender(shared_data):
    from siglip2.data.research import read_shards

    with gzip.open(shared_data / "multilingual" / "flickr8k_caption_gender.json.gz") as file:
        listed = json.load(file)
    entries = [
        json.loads(each.files["json"]) for each in read_shards(shared_data / "flickr8k", "test-*.tar.gz")
    ]
    keys = [entry["image"] for entry in entries]
    traits = traits_of_captions(keys, [entry["captions"]["en"] for entry in entries], WordLists.read())
    ours = dict(zip(keys, traits.attributes[0].codes.tolist(), strict=True))
    known = {name: gender for name, (gender, _) in listed["images"].items() if name in ours}
    assert len(known) > 250
    agreeing = sum(ours[name] == ("male", "female").index(gender) for name, gender in known.items())
    assert agreeing / len(known) > 0.95
