"""Explanations of sounds, against algebra on what the models themselves give."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import transformers

from normxlogit import InputError, MissingExtraError, OptionError
from normxlogit.query import Query
from normxlogit.results.audio import AudioAttribution
from normxlogit.results.base import Result
from normxlogit.show.dispatch import fragment, page, plain
from normxlogit.tasks import InputOptions
from normxlogit.tasks.media.audio import AudioExplainer
from normxlogit.tasks.media.positions import GridAxis
from normxlogit.tasks.media.preprocessing import audio_axis
from tests.helpers.packages import hide_package

hf: Any = transformers

RATE = 16000
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_labels": 3,
}
HOSTILE = "<script>alert(1)</script>\"'& <b>"


def build(kind: Any, config: Any) -> Any:
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def wav2vec2(**fields: Any) -> Any:
    config = hf.Wav2Vec2Config(
        **SMALL | {"conv_dim": (16,) * 7, "classifier_proj_size": 16} | fields
    )
    return build(hf.Wav2Vec2ForSequenceClassification, config)


def ast(seconds: int = 4) -> tuple[Any, Any]:
    frames = {"max_length": 100 * seconds, "num_mel_bins": 64}
    model = build(hf.ASTForAudioClassification, hf.ASTConfig(**SMALL | frames))
    return model, hf.ASTFeatureExtractor(**frames)


def whisper() -> tuple[Any, Any]:
    config = hf.WhisperConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=1500,
        num_labels=3,
        classifier_proj_size=16,
    )
    return build(hf.WhisperForAudioClassification, config), hf.WhisperFeatureExtractor()


def noise(seconds: float = 1.0, seed: int = 0) -> np.ndarray[Any, Any]:
    sound = np.random.default_rng(seed).normal(size=round(seconds * RATE)) * 0.1
    return sound.astype(np.float32)


def explain(model: Any, extractor: Any, *items: Any, **options: Any) -> list[AudioAttribution]:
    explainer = AudioExplainer(model, extractor, "some/model")
    encoded = {n: explainer.encode(item, InputOptions()) for n, item in enumerate(items)}
    results = []
    for result in explainer.explain(encoded, Query(**options), 4).values():
        assert isinstance(result, AudioAttribution), result
        results.append(result)
    return results


# Scores


def test_a_steps_score_is_its_norm_times_what_the_head_says_of_it() -> None:
    model, extractor, sound = wav2vec2(), hf.Wav2Vec2FeatureExtractor(), noise()
    (result,) = explain(model, extractor, (sound, RATE), target=2)
    values = extractor(sound, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        states = model.wav2vec2(**values, output_hidden_states=True)
        logits = model.classifier(model.projector(states.last_hidden_state))[0, :, 2]
    expected = states.hidden_states[0][0].norm(dim=-1) * logits
    np.testing.assert_allclose(result.scores, expected, rtol=2e-4, atol=1e-6)
    np.testing.assert_array_equal(result.track(), result.scores)
    assert not result.special.any()


def test_a_spectrograms_patches_and_their_sum_over_frequency() -> None:
    model, extractor = ast()
    sound = noise(4.0)
    (result,) = explain(model, extractor, (sound, RATE), target=1)
    values = extractor(sound, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        states = model.audio_spectrogram_transformer(**values, output_hidden_states=True)
        logits = model.classifier(states.last_hidden_state)[0, :, 1]
    expected = (states.hidden_states[0][0].norm(dim=-1) * logits)[2:].reshape(5, 39)
    assert result.grid == (5, 39)
    assert result.special[:2].all()
    assert not result.special[2:].any()
    np.testing.assert_allclose(result.patches(), expected, rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(result.track(), expected.sum(0), rtol=2e-3, atol=1e-5)


def test_whisper_hears_to_the_sounds_end() -> None:
    model, extractor = whisper()
    (result,) = explain(model, extractor, (noise(1.25), RATE), target=0)
    values = extractor(noise(1.25), sampling_rate=RATE, return_tensors="pt").input_features
    with torch.no_grad():
        states = model.encoder(values, output_hidden_states=True)
        logits = model.classifier(model.projector(states.last_hidden_state))[0, :, 0]
    expected = states.hidden_states[0][0].norm(dim=-1) * logits
    np.testing.assert_allclose(result.scores, expected, rtol=2e-4, atol=1e-5)
    assert len(result) == 1500
    assert result.track().shape == (63,)
    assert result.times()[-1, 1] == np.float32(1.25)


def test_targets_and_layers() -> None:
    model, extractor = ast()
    (every,) = explain(model, extractor, (noise(4.0), RATE), target="all", layer="all")
    assert every.scores.shape == (3, 2, 197)
    assert every.patches().shape == (3, 2, 5, 39)
    assert every.track().shape == (3, 2, 39)
    (single,) = explain(model, extractor, (noise(4.0), RATE), target=1)
    np.testing.assert_allclose(every.select(target=1, layer=2).scores, single.scores, rtol=1e-4)
    with pytest.raises(OptionError, match="axes"):
        every.top()


def test_sounds_of_one_length_together_and_of_others_alone() -> None:
    model, extractor = wav2vec2(), hf.Wav2Vec2FeatureExtractor()
    sounds = [noise(s, n) for n, s in enumerate((0.5, 0.5, 0.8, 0.5, 1.1))]
    together = explain(model, extractor, *[(sound, RATE) for sound in sounds], target=0)
    for sound, result in zip(sounds, together, strict=True):
        (alone,) = explain(model, extractor, (sound, RATE), target=0)
        np.testing.assert_allclose(result.scores, alone.scores, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(result.times(), alone.times())
        assert result.duration == len(sound) / RATE


# Time


def test_steps_of_a_waveform_by_arithmetic() -> None:
    """A position of wav2vec2 has read 400 samples, 320 after the one before it."""
    (result,) = explain(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), (noise(), RATE))
    middle = (200 + 320 * np.arange(49)) / RATE
    np.testing.assert_allclose(result.times().mean(1), middle, atol=1e-5)
    np.testing.assert_allclose(np.diff(result.times(), axis=1), 0.02, atol=1e-5)


@pytest.mark.parametrize(
    ("extractor", "dim", "first", "step"),
    [
        (hf.Wav2Vec2FeatureExtractor(), 1, 0.5 / RATE, 1 / RATE),
        (hf.Wav2Vec2FeatureExtractor(do_normalize=True), 1, 0.5 / RATE, 1 / RATE),
        (hf.WhisperFeatureExtractor(), 2, 0.0, 0.01),
        (hf.ASTFeatureExtractor(num_mel_bins=64), 1, 0.0125, 0.01),
        (hf.ASTFeatureExtractor(num_mel_bins=64, max_length=300), 1, 0.0125, 0.01),
        (hf.SeamlessM4TFeatureExtractor(), 1, 0.0175, 0.02),
    ],
)
def test_frames_by_arithmetic(extractor: Any, dim: int, first: float, step: float) -> None:
    """Windows of 25 ms every 10 ms; Whisper's are centred, SeamlessM4T's joined in pairs."""

    def features(sound: Any) -> Any:
        features = extractor(sound, sampling_rate=RATE, return_tensors="np")
        return next(iter(features.values()))

    frames = audio_axis(features, RATE)
    assert frames is not None
    assert frames[0] == dim
    assert frames[1].step == pytest.approx(step)
    assert frames[1].first == pytest.approx(first, abs=max(1e-6, 0.1 * step))


def test_what_shows_no_time_is_not_guessed() -> None:
    assert audio_axis(lambda sound: np.full((1, 7), sound.sum()), RATE) is None


@pytest.mark.parametrize("kind", ["wav2vec2", "ast", "whisper", "bert"])
@pytest.mark.parametrize("at", [0.4, 1.1, 1.7])
def test_steps_lie_when_they_sound(kind: str, at: float) -> None:
    """A burst at a known time changes the norms of the steps that are said to be then."""
    if kind == "wav2vec2":
        model = wav2vec2(feat_extract_norm="layer")
        extractor = hf.Wav2Vec2FeatureExtractor(do_normalize=False)
    elif kind == "bert":
        config = hf.Wav2Vec2BertConfig(**SMALL | {"vocab_size": 9, "classifier_proj_size": 16})
        model = build(hf.Wav2Vec2BertForSequenceClassification, config)
        extractor = hf.SeamlessM4TFeatureExtractor()
    else:
        model, extractor = ast(2) if kind == "ast" else whisper()
    quiet = 0.01 * noise(2.0)
    burst = quiet.copy()
    part = slice(round(at * RATE), round((at + 0.06) * RATE))
    burst[part] += 0.5 * np.sin(np.arange(part.stop - part.start))
    result, before = explain(model, extractor, (burst, RATE), (quiet, RATE), method="norm")
    change = np.abs(result.track() - before.track())
    if kind == "bert":  # each band is scaled over the whole sound, which moves all steps
        change = np.abs(change - np.median(change))
    if kind == "whisper":  # the loudest moment sets the floor of the silence after the sound
        change[-2:] = 0
    start, end = result.times()[change.argmax()]
    slack = 0.1 if kind == "ast" else 0.045
    assert start - slack <= at + 0.03 <= end + slack


def test_a_last_frame_that_is_half_padding_is_left_out() -> None:
    """SeamlessM4T fills up to an even number of frames and masks the last pair."""
    config = hf.Wav2Vec2BertConfig(**SMALL | {"vocab_size": 9, "classifier_proj_size": 16})
    model = build(hf.Wav2Vec2BertForSequenceClassification, config)
    sounds = [(noise(0.5 + 0.01 * n), RATE) for n in range(4)]
    for result in explain(model, hf.SeamlessM4TFeatureExtractor(), *sounds):
        assert result.seconds is not None
        assert not np.isnan(result.scores).any()


def test_a_sound_that_is_not_heard_to_its_end_is_refused() -> None:
    model, extractor = ast(2)
    explainer = AudioExplainer(model, extractor, "")
    items = {0: explainer.encode((noise(3.0), RATE), InputOptions())}
    assert "lasts 3.0 seconds, and the model hears 1.9" in str(
        explainer.explain(items, Query(), 1)[0]
    ) or "hears 2.0" in str(explainer.explain(items, Query(), 1)[0])


def test_a_reduced_axis() -> None:
    axis = GridAxis(100).reduced(20, kernel=10, stride=5, padding=0)
    assert (axis.first, axis.step) == (5.0, 5.0)
    assert GridAxis(10).reduced(5, 3, 2, 1).first == 0.5
    assert axis.mapped_through(GridAxis(100, 10.0, 2.0)).first == 10.0 + 4.5 * 2


# Sounds as they come


def test_files_tuples_dicts_and_channels_are_the_same(tmp_path: Path) -> None:
    sound = np.round(noise() * 2**15) / 2**15
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, sound, RATE, subtype="PCM_16")
    stereo = np.stack([sound * 1.5, sound * 0.5])
    items: list[Any] = [
        (sound, RATE),
        {"array": sound, "sampling_rate": RATE, "path": None},
        tmp_path / "a.wav",
        str(tmp_path / "a.flac"),
        (stereo, RATE),
        (stereo.T, RATE),
        (torch.from_numpy(sound), RATE),
        (np.round(sound * 2**15).astype(np.int16), np.int64(RATE)),
        (sound.tolist(), RATE),
    ]
    results = explain(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), *items, target=0)
    for result in results:
        np.testing.assert_allclose(result.scores, results[0].scores, rtol=2e-3, atol=1e-5)
    assert results[2].name == "a.wav"


def test_ogg_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", noise(), RATE)
    (result,) = explain(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), tmp_path / "a.ogg")
    assert result.duration == pytest.approx(1.0, abs=0.01)


def test_another_sampling_rate_is_refused_with_the_way_out() -> None:
    explainer = AudioExplainer(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), "")
    with pytest.raises(InputError, match=r"44100.*16000.*resample"):
        explainer.encode((noise(), 44100), InputOptions())


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (noise(), "audio is a path"),
        (3, "audio is a path"),
        ({"path": "a.wav", "bytes": b""}, "audio is a path"),
        ("nowhere.wav", "no file nowhere.wav"),
        ((noise(), "fast"), "sampling rate"),
        ((noise(), 0), "sampling rate"),
        ((np.zeros(0), RATE), "no samples"),
        ((np.array([0.0, np.nan]), RATE), "not finite"),
        ((np.zeros((2, 3, 4)), RATE), r"\[2, 3, 4\]"),
        ((np.zeros((100, 100)), RATE), r"\[100, 100\]"),
        ((["a", "b"], RATE), "numbers"),
        ((np.zeros(99, bool), RATE), "bool"),
    ],
)
def test_what_is_no_sound_is_refused(item: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        AudioExplainer(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), "").encode(item, InputOptions())


def test_a_file_that_is_no_sound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(InputError, match=r"a\.wav"):
        AudioExplainer(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), "").encode(
            tmp_path / "a.wav", InputOptions()
        )


def test_one_that_is_too_short_does_not_take_others_with_it() -> None:
    explainer = AudioExplainer(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), "")
    sounds = [noise(0.5), noise(0.01), noise(0.7)]
    items = {n: explainer.encode((sound, RATE), InputOptions()) for n, sound in enumerate(sounds)}
    results = explainer.explain(items, Query(), 4)
    assert isinstance(results[0], AudioAttribution)
    assert isinstance(results[1], Exception)
    assert isinstance(results[2], AudioAttribution)


@pytest.mark.parametrize("reading", [InputOptions(long="truncate"), InputOptions(position=1)])
def test_what_is_for_texts_is_refused(reading: InputOptions) -> None:
    with pytest.raises(OptionError, match="for texts"):
        AudioExplainer(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), "").encode(
            (noise(), RATE), reading
        )


def test_soundfile_is_an_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hide_package(monkeypatch, "soundfile")
    explainer = AudioExplainer(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), "")
    with pytest.raises(MissingExtraError, match=r"normxlogit\[audio\]"):
        explainer.encode(tmp_path / "a.wav", InputOptions())
    explainer.encode((noise(), RATE), InputOptions())


# Kept and shown


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    model, extractor = ast()
    (result,) = explain(model, extractor, (noise(2.0), RATE), target="all", layer="all")
    result.save(tmp_path / "a.json")
    again = Result.load(tmp_path / "a.json")
    assert isinstance(again, AudioAttribution)
    np.testing.assert_array_equal(again.track(), result.track())
    np.testing.assert_array_equal(again.times(), result.times())
    np.testing.assert_array_equal(again.special, result.special)
    assert (again.grid, again.duration) == (result.grid, result.duration)
    assert again.to_html() == result.to_html()
    with pytest.raises(InputError, match="whole attribution"):
        Result.from_dict(result.to_dict() | {"grid": [1]})


def test_the_strongest_steps() -> None:
    (result,) = explain(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), (noise(), RATE))
    (((start, end), score), *_) = result.top(3)
    assert score == result.track().max()
    np.testing.assert_array_equal(result.times()[result.track().argmax()], (start, end))


def test_pages_are_whole_and_nothing_in_them_is_code(tmp_path: Path) -> None:
    name = tmp_path / "<img src=x onerror=alert(1)>.wav"
    soundfile.write(name, noise(), RATE)
    labels = {0: HOSTILE, 1: "b", 2: "c"}
    for model, extractor in ((wav2vec2(id2label=labels), hf.Wav2Vec2FeatureExtractor()), ast(1)):
        explainer = AudioExplainer(model, extractor, HOSTILE)
        items = {0: explainer.encode(name, InputOptions())}
        for query in (Query(target=0), Query(target="all"), Query(target=[0, 1], layer="all")):
            result = explainer.explain(items, query, 1)[0]
            assert isinstance(result, AudioAttribution)
            for html in (page([result]), page([result, result]), fragment(result)):
                assert "<script>alert" not in html
                assert "<img" not in html
                assert not re.search(
                    r"<[^>]*\b(src|href)\s*=|url\((?!data:image/svg\+xml;base64,)", html
                )
            assert "&lt;img src=x" in page([result])


def test_a_terminal_shows_time() -> None:
    (result,) = explain(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), (noise(), RATE), target=1)
    shown = plain(result)
    assert "1.00 s" in shown
    assert "supports LABEL_1" in shown
    assert str(result) == shown
    assert "1.00 s" in repr(result)


def test_figures(tmp_path: Path) -> None:
    model, extractor = ast()
    (every,) = explain(model, extractor, (noise(3.0), RATE), target=[0, 1], layer="all")
    drawn = every.plot()
    assert sum(bool(panel.get_title()) for panel in drawn.axes) == 4
    drawn.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
