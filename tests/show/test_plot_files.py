"""Plots of the strongest tokens, and plots in files."""

from pathlib import Path
from typing import Any

import pytest

from normxlogit import GenerationAttribution, InputError, OptionError
from tests.helpers.results import GOOD_BAD, SOUND, generation, word_attribution


def test_plot_of_the_strongest_tokens() -> None:
    scores = [0.5, -4.0, 1.0, 3.0]
    result = word_attribution("aa bb cc dd", scores)
    axes: Any = result.plot(top=2).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["bb", "dd"]
    assert [bar.get_width() for bar in axes.patches] == [-4.0, 3.0]
    assert len(result.plot(top=9).axes[0].patches) == 4
    words = generation().words()
    assert isinstance(words, GenerationAttribution)
    assert len(words.plot(top=2).axes[0].get_xticks()) == 2
    for wrong in (0, 1.5, "all"):
        with pytest.raises(OptionError, match="top must be a whole number"):
            result.plot(top=wrong)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="top is for plots of texts"):
        SOUND.plot(top=2)


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("SVG", b"<?xml"), ("pdf", b"%PDF")]
)
def test_plot_into_a_file(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = tmp_path / f"why.{suffix}"
    for name in (path, str(path)):
        figure = GOOD_BAD.plot(name)
        assert path.read_bytes().startswith(start)
        assert len(figure.axes) == 1


def test_plot_into_what_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "why.png"
    path.write_bytes(b"before")
    for wrong, says in (
        (tmp_path / "nowhere" / "why.png", "No such file or directory"),
        (tmp_path / "why.foo", "Use one of .*png.*svg"),
        (tmp_path / "why", "Use one of .*png.*svg"),
        (path / "why.png", "cannot write"),
    ):
        with pytest.raises(InputError, match=says):
            GOOD_BAD.plot(wrong)
    assert [file.name for file in tmp_path.iterdir()] == ["why.png"]
    assert path.read_bytes() == b"before"
