"""Results as `shap.Explanation`, drawn by shap's own plots."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import normxlogit as nxl
from normxlogit import Attribution, Explainer, InputError, MissingExtraError, OptionError
from tests.helpers.heads import centred, fit_tiny, reviews
from tests.helpers.models import causal_lm, classifier_explainer

matplotlib = pytest.importorskip("matplotlib")
shap = pytest.importorskip("shap")

TEXT = "The plot is not bad at all; it's a great mess, isn't it?"


@pytest.fixture(scope="module")
def fitted() -> Explainer:
    """An explainer whose scores are additive."""
    explainer: Explainer = fit_tiny(classifier_explainer())
    return explainer


@pytest.fixture(autouse=True)
def no_window() -> Iterator[None]:
    matplotlib.use("Agg")
    yield
    matplotlib.pyplot.close("all")


def plots() -> dict[str, Callable[[Any], Any]]:
    return {
        "waterfall": lambda explanation: shap.plots.waterfall(explanation, show=False),
        "bar": lambda explanation: shap.plots.bar(explanation, show=False),
        "text": lambda explanation: shap.plots.text(explanation, display=False),
    }


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("text", [TEXT, (TEXT, "a great movie"), "not"])
def test_additive_scores_add_up(fitted: Explainer, text: Any, words: bool) -> None:
    result = fitted.explain(text, target="all")
    result = result.words() if words else result
    explanation = result.to_shap()
    logits = [output.logit for output in result.prediction.outputs]
    total = explanation.base_values + explanation.values.sum(0)
    np.testing.assert_allclose(total, centred(logits), atol=1e-4)
    assert list(explanation.output_names) == [output.label for output in result.prediction.outputs]
    single = result.at(1)
    np.testing.assert_array_equal(single.to_shap().values, explanation.values[:, 1])
    assert single.to_shap().base_values == pytest.approx(single.base_value)
    scored = ~np.isnan(single.scores)
    np.testing.assert_array_equal(single.to_shap().values, single.scores[scored])
    texts = text if isinstance(text, tuple) else (text,)
    assert "".join(explanation.data) == "".join(texts)


@pytest.mark.parametrize("name", ["waterfall", "bar", "text"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_plots_of_a_text(fitted: Explainer, name: str) -> None:
    explanation = fitted.explain(TEXT).words().to_shap()
    drawn = plots()[name](explanation)
    if name == "text":
        assert all(word in drawn for word in ("plot", "great", "isn"))
        return
    drawn.figure.canvas.draw()
    labels = " ".join(label.get_text() for label in drawn.get_yticklabels())
    strongest = explanation.feature_names[int(np.abs(explanation.values).argmax())]
    assert strongest in labels


def test_text_plot_of_several_targets(fitted: Explainer) -> None:
    page = shap.plots.text(fitted.explain(TEXT, target="all").to_shap(), display=False)
    assert all(f"LABEL_{number}" in page for number in range(3))


def test_other_methods_have_no_base_value(explainer: Explainer) -> None:
    result = explainer.explain(TEXT)
    explanation = result.to_shap()
    assert np.isnan(explanation.base_values)
    np.testing.assert_array_equal(explanation.values, result.scores)
    shap.plots.bar(explanation, show=False).figure.canvas.draw()


def test_several_texts_as_a_matrix(fitted: Explainer) -> None:
    texts = reviews(8)
    results = fitted.explain([*texts, ""], target=0)
    explanation = nxl.to_shap(results)
    assert explanation.values.shape == (len(texts), len({w for t in texts for w in t.split()}))
    column = list(explanation.feature_names).index("great")
    for row, (text, result) in enumerate(zip(texts, results, strict=False)):
        assert isinstance(result, Attribution)
        assert explanation.data[row, column] == text.split().count("great")
        total = explanation.base_values[row] + explanation.values[row].sum()
        logits = [output.logit for output in result.prediction.outputs]
        assert total == pytest.approx(centred(logits)[0], abs=1e-4)
    shap.plots.beeswarm(explanation, show=False).figure.canvas.draw()


def test_what_shap_does_not_know(explainer: Explainer) -> None:
    with pytest.raises(OptionError, match="knows no layers"):
        explainer.explain(TEXT, layer="all").to_shap()
    answer = causal_lm().generate("one two", max_new_tokens=3, do_sample=False)
    with pytest.raises(OptionError, match="differ between targets"):
        answer.to_shap()
    assert answer.whole().to_shap().shape == (len(answer.whole()),)
    with pytest.raises(OptionError, match="do not compare"):
        nxl.to_shap([explainer.explain(TEXT, target=target) for target in (0, 1)])
    with pytest.raises(InputError, match="at least one"):
        nxl.to_shap([])


def test_without_shap(explainer: Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    result = explainer.explain(TEXT)
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(MissingExtraError, match=r'pip install "normxlogit\[shap\]"'):
        result.to_shap()
