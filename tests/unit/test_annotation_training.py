import json
from pathlib import Path

import numpy as np
import pytest
import tinyannotation
import tinyplanner
import torch

from raygen.annotation import prompts
from raygen.annotation.model import AnnotationArchitecture, load_annotator, read_head
from raygen.annotation.scoring import TypeScorer, probabilities
from raygen.config import ComputeConfig, PlannerConfig, load
from raygen.errors import ConfigError, DataError, WeightsError
from raygen.models.language import load_language_model, weights_digest
from raygen.taxonomy import ACTIVITY_TYPES
from training import annotation_results
from training.annotation import AnnotationRecipe, train
from training.annotation_baselines import fit_naive_bayes, majority
from training.annotation_data import (
    SPLITS,
    AnnotationData,
    Labelled,
    balanced,
    joined,
    read_labelled,
    read_names,
    training_set,
)
from training.annotation_task import AnnotationTask, count_batches, label_rows, write_activations
from training.recipe import LoopConfig

ROOT = Path(__file__).parents[2]
MEALS, SHOP, WORSHIP = (ACTIVITY_TYPES.index(t) for t in ("meals_out", "shop_goods", "worship"))


def item(name, **more):
    return {"displayName": name, "tags": {"name": name}, "locationSet": {"include": ["us"]}} | more


@pytest.fixture
def index(tmp_path):
    """A name-suggestion-index of 240 cafés and 60 shops, and what must be left out of it."""
    groups = {
        "brands/amenity/cafe": [item(f"Cafe {chr(97 + i % 26)}{i}x") for i in range(240)],
        "brands/shop/books": [
            item(f"Libro {i}x", locationSet={"include": ["es-md.geojson"]}) for i in range(60)
        ]
        + [item("Cafe a0x")],
        "operators/power/line": [item("Grid")],
        "operators/amenity/school": [item("District 9", locationSet={"include": ["001"]})],
        "brands/amenity/no_such": [item("Thing")],
    }
    path = tmp_path / "nsi.json"
    path.write_text(json.dumps({"nsi": {k: {"items": v} for k, v in groups.items()}}))
    return path


@pytest.fixture
def pois(tmp_path):
    path = tmp_path / "pois.csv"
    rows = [f"Church of {chr(97 + i % 26)}{i}y,amenity=place_of_worship" for i in range(90)]
    path.write_text("\n".join(["name,tags", *rows, ",amenity=cafe", "Nowhere,surface=sand"]))
    return path


def test_names_are_labelled_once_by_their_tags(index):
    names = read_names(index)
    assert len(names) == 301
    assert {"Grid", "Thing"}.isdisjoint(names.text)
    at = names.text.index("Cafe a0x")  # a café and a book shop
    np.testing.assert_allclose(names.target[at, [MEALS, SHOP]], [0.35, 0.375])
    assert names.target[names.text.index("Libro 7x")].argmax() == SHOP
    country = dict(zip(names.text, names.country, strict=True))
    assert country["Libro 7x"] == "es"
    assert country["Cafe a0x"] == "us"
    assert country["District"] == ""
    assert "District 9" not in country
    assert names.with_tags().text[at] == "Cafe a0x; amenity cafe"
    np.testing.assert_allclose(names.target.sum(axis=1), 1)


def test_pois_without_name_or_known_tag_are_not_labelled(pois):
    labelled = read_labelled(pois)
    assert len(labelled) == 90
    assert (labelled.target.argmax(axis=1) == WORSHIP).all()


def test_splits_are_disjoint_by_name_whatever_the_source_or_case(index):
    names = read_names(index)
    parts = {split: set(names.split(split).text) for split in SPLITS}
    assert sum(map(len, parts.values())) == len(set.union(*parts.values())) == 301
    assert 120 < len(parts["train"]) < 180
    assert 90 < len(parts["test"]) < 150
    loud = Labelled(
        [t.upper() for t in names.text], names.target, names.country, names.shown, names.category
    )
    for split, texts in parts.items():
        assert {t.upper() for t in texts} == set(loud.split(split).text)


def test_training_names_are_balanced_and_one_in_four_shows_its_tag(index, pois):
    data = AnnotationData(names=index, pois=(pois,), per_type=25, validation=12)
    learned, held = training_set(data)
    counts = np.bincount(learned.target.argmax(axis=1), minlength=15)
    assert counts[[MEALS, SHOP, WORSHIP]].tolist() == [25, 25, 25]
    assert len(held) == 12
    told = [text for text in learned.text if "; " in text]
    assert 5 < len(told) < 35
    assert not any("; " in text for text in held.text)
    every = joined([read_names(index), read_labelled(pois)])
    assert balanced(every, 10).text == balanced(joined([every]), 10).text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; `npm pack name-suggestion-index`"),
        ("{}", "not the JSON of the name-suggestion-index"),
        ("[1", "not the JSON of the name-suggestion-index"),
    ],
)
def test_a_missing_or_wrong_index_is_refused(tmp_path, content, message):
    path = tmp_path / "nsi.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_names(path)


def test_naive_bayes_tells_cafes_from_churches_it_has_not_seen(index, pois):
    every = joined([read_names(index), read_labelled(pois)])
    bayes = fit_naive_bayes(every.split("train"), every.split("validation"))
    found = bayes.annotate(["Cafe Zanzibar", "Church of Nowhere", "Librolandia"])
    assert found.argmax(axis=1).tolist() == [MEALS, WORSHIP, SHOP]
    np.testing.assert_allclose(found.sum(axis=1), 1)
    unknown = bayes.annotate(["北京"])[0]
    np.testing.assert_allclose(unknown, majority(every.split("train"), 1)[0], atol=1e-4)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tinyannotation.language(tmp_path_factory.mktemp("language"))


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr(prompts, "instruction", lambda examples: f"Task {examples}:\n")


def tiny_task(base, directory):
    config = AnnotationArchitecture(base_model=str(base), upper_layers=1, rank=2)
    target = np.eye(15)[[MEALS, WORSHIP, SHOP, MEALS]]
    labelled = Labelled(["Bar", "Dom", "Laden", "Gasthof"], target, [""] * 4, [""] * 4, [0] * 4)
    language = load_language_model(str(base), torch.float32, "cpu")
    path = directory / "activations.safetensors"
    write_activations(path, language, config, {"train": labelled, "validation": labelled})
    counts = count_batches(path)
    return AnnotationTask(config, 3, path, counts["train"], counts["validation"]), labelled


@torch.no_grad()
def validate(task, model):
    return task.validate(model.eval())


def test_before_training_the_objective_gives_the_models_own_likelihoods(brief, base, tmp_path):
    task, labelled = tiny_task(base, tmp_path)
    loss = validate(task, task.model())["total"]
    language = load_language_model(str(base), torch.float32, "cpu")
    bare = TypeScorer(language, read_head(language, str(base)), 8, examples=False)
    p = probabilities(bare.log_likelihoods(labelled.text), None)
    assert loss == pytest.approx(-np.log(p[labelled.target > 0]).mean(), rel=2e-2)  # bfloat16


def test_steps_lower_the_loss_and_move_lora_alone(brief, base, tmp_path):
    task, _ = tiny_task(base, tmp_path)
    model = task.model()
    moving = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert moving
    assert all(".lora_" in name for name in moving)
    before = validate(task, model)["total"]
    optimizer = torch.optim.Adam([w for w in model.parameters() if w.requires_grad], lr=0.02)
    for epoch in range(12):
        for batch in task.batches(epoch, 0, 1):
            optimizer.zero_grad()
            model(batch, 0.0)["total"].backward()
            optimizer.step()
    after = validate(task, model)
    assert after["total"] < 0.8 * before
    assert 0 <= after["accuracy"] <= 1


def test_workers_get_equally_many_batches_and_each_at_most_once(brief, base, tmp_path):
    task, _ = tiny_task(base, tmp_path)
    assert task.train == 3  # Bar and Dom are of equal length
    shares = [[b["names"].shape for b in task.batches(0, rank, 2)] for rank in range(2)]
    assert [len(share) for share in shares] == [1, 1]
    orders = {tuple(b["names"].shape[1] for b in task.batches(e, 0, 1)) for e in range(8)}
    assert len(orders) > 1


def test_a_tokenizer_that_splits_labels_is_refused(tmp_path):
    folder = tinyannotation.language(tmp_path, whole=False)
    language = load_language_model(str(folder), torch.float32, "cpu")
    with pytest.raises(WeightsError, match=r"each label as one token, has not \[' home'"):
        label_rows(language, torch.zeros(256, tinyplanner.HIDDEN))


def test_the_recipe_is_valid_and_its_output_can_be_given_to_annotate():
    recipe = load(ROOT / "training/recipes/annotation.toml", AnnotationRecipe)
    assert recipe.output.name == "annotation"
    with pytest.raises(ConfigError, match="name must be 'annotation', got 'other'"):
        train(recipe, Path("other"))


def test_the_results_hold_every_metric_of_table_2(pois):
    labelled = read_labelled(pois)
    perfect = annotation_results.table_2(labelled.target, labelled)
    assert perfect["accuracy@1"] == perfect["weighted_f1"] == perfect["hit@3"] == 1
    assert perfect["accuracy@2"] == perfect["accuracy@3"] == 0
    assert perfect["category accuracy"] == 1  # worship is of life services alone
    case = annotation_results.Case("la_basin", labelled, labelled, paper=True)
    rows = annotation_results.measure(
        case,
        {
            "naive Bayes on n-grams": lambda given: given.target,
            "LLM": lambda given: 1 - given.target,
        },
    )
    found = {(row.case, row.metric): row for row in rows}
    assert found["la_basin: LLM", "accuracy@1"].paper == 0.825
    assert found["la_basin: LLM", "accuracy@1"].value == 0
    assert found["la_basin: LLM", "accuracy@1"].baseline == 1
    assert found["la_basin: naive Bayes on n-grams", "accuracy@1"].paper is None


@pytest.mark.slow
def test_training_writes_an_adapter_that_annotates(index, pois, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = tinyannotation.language(tmp_path / "language")
    recipe = AnnotationRecipe(
        output=tmp_path / "annotation",
        data=AnnotationData(names=index, pois=(pois,), per_type=12, validation=8),
        model=AnnotationArchitecture(base_model=str(base), upper_layers=1, rank=2),
        loop=LoopConfig(epochs=12, learning_rate=1e-2, zero_stage=0),
    )
    output = train(recipe, recipe.output)
    written = {path.name for path in output.iterdir()}
    assert {"weights.safetensors", "config.json", "MODEL_CARD.md", "curve.csv"} <= written
    assert "activations.safetensors" not in written
    config = PlannerConfig(base_model=str(base), dtype="float32")
    fitted = load_annotator(tmp_path, config, ComputeConfig())
    assert fitted.label == "calibrated"
    assert weights_digest(base) in fitted.digest
    texts = read_names(index).split("test").text[:20]
    assert fitted.annotate(texts).argmax(axis=1).tolist().count(MEALS) > 0
