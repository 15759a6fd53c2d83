"""Explainers of objects of other packages that hold a model: pipelines and cross-encoders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import FeatureExtractionPipeline, TextClassificationPipeline, pipeline

from normxlogit import Attribution, Explainer, ModelError
from normxlogit.tasks import Task
from normxlogit.tasks.holders import unpacked
from tests.helpers.models import causal_lm, classifier_explainer, image_classifier, token_classifier

TEXT = "A great movie with poor performers."


def pipeline_of(explainer: Explainer, task: str, **options: Any) -> Any:
    make: Any = pipeline
    part = "image_processor" if explainer.task is Task.IMAGE else "tokenizer"
    return make(task, model=explainer.model, **{part: explainer.tokenizer}, **options)


@pytest.mark.parametrize("task", ["text-classification", "sentiment-analysis"])
def test_a_classifier_says_what_its_pipeline_says(explainer: Explainer, task: str) -> None:
    classify = pipeline_of(explainer, task)
    ours = Explainer(classify).explain(TEXT)
    (theirs,) = classify(TEXT)
    assert ours.prediction.label == theirs["label"]
    assert ours.prediction.probability == pytest.approx(theirs["score"], rel=1e-5)
    np.testing.assert_array_equal(ours.scores, explainer.explain(TEXT).scores)


def test_pipelines_of_other_tasks() -> None:
    tagger = token_classifier()
    assert Explainer(pipeline_of(tagger, "ner")).task is Task.TOKENS
    writer = causal_lm()
    assert Explainer(pipeline_of(writer, "text-generation")).task is Task.CAUSAL
    viewer, pixels = image_classifier()
    ours = Explainer(pipeline_of(viewer, "image-classification")).explain(pixels)
    np.testing.assert_array_equal(ours.scores, viewer.explain(pixels).scores)


def test_a_pipeline_of_a_class_without_a_task(explainer: Explainer) -> None:
    class Ours(TextClassificationPipeline):
        pass

    classes: list[Any] = [TextClassificationPipeline, Ours]
    for of_class in classes:
        classify = of_class(model=explainer.model, tokenizer=explainer.tokenizer)
        assert classify.task == ""
        ours = Explainer(classify).explain(TEXT)
        np.testing.assert_array_equal(ours.scores, explainer.explain(TEXT).scores)
    of_vectors: Any = FeatureExtractionPipeline
    with pytest.raises(ModelError, match="a pipeline for 'feature-extraction' has no prediction"):
        Explainer(of_vectors(model=explainer.model, tokenizer=explainer.tokenizer))


@pytest.mark.parametrize("task", ["feature-extraction", "zero-shot-classification"])
def test_a_pipeline_that_is_not_explained(explainer: Explainer, task: str) -> None:
    with pytest.raises(ModelError, match=f"pipeline for '{task}'") as refused:
        Explainer(pipeline_of(explainer, task))
    assert "\n" not in str(refused.value)
    assert ("pipeline.tokenizer" in str(refused.value)) == (task == "zero-shot-classification")


def test_a_pipeline_limits_texts(explainer: Explainer) -> None:
    limit = explainer.tokenizer.model_max_length
    classify = pipeline_of(explainer, "text-classification", truncation=True, max_length=8)
    ours = Explainer(classify).explain(TEXT, long="truncate")
    (theirs,) = classify(TEXT)
    assert len(ours) == 8
    assert ours.prediction.probability == pytest.approx(theirs["score"], rel=1e-5)
    assert explainer.tokenizer.model_max_length == limit


def test_a_pipeline_that_reads_texts_in_its_own_way() -> None:
    writer = causal_lm()
    with pytest.warns(UserWarning, match="reads texts with add_special_tokens"):
        Explainer(pipeline_of(writer, "text-generation", add_special_tokens=False))


def test_the_name_of_a_model() -> None:
    with pytest.raises(ModelError, match="from_pretrained"):
        Explainer("demo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of two outputs that sentence-transformers can load."""
    folder = tmp_path_factory.mktemp("cross-encoder")
    explainer = classifier_explainer("distilbert", num_labels=2)
    explainer.model.save_pretrained(folder)
    explainer.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_cross_encoder(folder: Path) -> None:
    package = pytest.importorskip("sentence_transformers", exc_type=ImportError)
    encoder = package.CrossEncoder(str(folder), device="cpu")
    pairs = [("Is the plot bad?", "The plot is a mess."), ("one", "two three")]
    ours = Explainer(encoder).explain(pairs)
    assert all(isinstance(result, Attribution) for result in ours)
    logits = [[output.logit for output in result.prediction.outputs] for result in ours]  # type: ignore[union-attr]
    np.testing.assert_allclose(logits, encoder.predict(pairs), rtol=1e-5, atol=1e-6)

    encoder.prompts, encoder.default_prompt_name = {"query": "query: "}, "query"
    with pytest.raises(ModelError, match="puts 'query: ' before texts"):
        Explainer(encoder)
    encoder.default_prompt_name = None
    encoder.append(package.sentence_transformer.modules.Normalize())
    with pytest.raises(ModelError, match="modules of its own"):
        Explainer(encoder)


class CrossEncoder:
    """Holds what older versions of sentence-transformers do."""

    __module__ = "sentence_transformers.cross_encoder.CrossEncoder"

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer


def test_a_cross_encoder_of_an_older_version(explainer: Explainer) -> None:
    held = explainer.model, explainer.tokenizer
    assert unpacked(CrossEncoder(*held), None) == held


def test_vectors_are_no_predictions() -> None:
    vectors = type("Vectors", (), {"__module__": "sentence_transformers.models"})()
    with pytest.raises(ModelError, match="gives vectors"):
        Explainer(vectors)
