"""Explanations of sounds, against algebra on what the models themselves give."""

import builtins
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
from normxlogit.tasks import Reading
from normxlogit.tasks.media.base import Sounds
from normxlogit.tasks.media.positions import Axis
from normxlogit.tasks.media.preprocessing import sound_axis

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


def made(kind: Any, config: Any) -> Any:
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
    return made(hf.Wav2Vec2ForSequenceClassification, config)


def ast(seconds: int = 4) -> tuple[Any, Any]:
    frames = {"max_length": 100 * seconds, "num_mel_bins": 64}
    model = made(hf.ASTForAudioClassification, hf.ASTConfig(**SMALL | frames))
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
    return made(hf.WhisperForAudioClassification, config), hf.WhisperFeatureExtractor()


def noise(seconds: float = 1.0, seed: int = 0) -> np.ndarray[Any, Any]:
    sound = np.random.default_rng(seed).normal(size=round(seconds * RATE)) * 0.1
    return sound.astype(np.float32)


def explain(model: Any, extractor: Any, *items: Any, **asked: Any) -> list[AudioAttribution]:
    reader = Sounds(model, extractor, "some/model")
    encoded = {n: reader.encode(item, Reading()) for n, item in enumerate(items)}
    found = []
    for result in reader.explain(encoded, Query(**asked), 4).values():
        assert isinstance(result, AudioAttribution), result
        found.append(result)
    return found


# Scores


def test_a_steps_score_is_its_norm_times_what_the_head_says_of_it() -> None:
    model, extractor, sound = wav2vec2(), hf.Wav2Vec2FeatureExtractor(), noise()
    (found,) = explain(model, extractor, (sound, RATE), target=2)
    values = extractor(sound, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        states = model.wav2vec2(**values, output_hidden_states=True)
        said = model.classifier(model.projector(states.last_hidden_state))[0, :, 2]
    expected = states.hidden_states[0][0].norm(dim=-1) * said
    np.testing.assert_allclose(found.scores, expected, rtol=2e-4, atol=1e-6)
    np.testing.assert_array_equal(found.track(), found.scores)
    assert not found.special.any()


def test_a_spectrograms_patches_and_their_sum_over_frequency() -> None:
    model, extractor = ast()
    sound = noise(4.0)
    (found,) = explain(model, extractor, (sound, RATE), target=1)
    values = extractor(sound, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        states = model.audio_spectrogram_transformer(**values, output_hidden_states=True)
        said = model.classifier(states.last_hidden_state)[0, :, 1]
    expected = (states.hidden_states[0][0].norm(dim=-1) * said)[2:].reshape(5, 39)
    assert found.grid == (5, 39)
    assert found.special[:2].all()
    assert not found.special[2:].any()
    np.testing.assert_allclose(found.patches(), expected, rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(found.track(), expected.sum(0), rtol=2e-3, atol=1e-5)


def test_whisper_hears_to_the_sounds_end() -> None:
    model, extractor = whisper()
    (found,) = explain(model, extractor, (noise(1.25), RATE), target=0)
    values = extractor(noise(1.25), sampling_rate=RATE, return_tensors="pt").input_features
    with torch.no_grad():
        states = model.encoder(values, output_hidden_states=True)
        said = model.classifier(model.projector(states.last_hidden_state))[0, :, 0]
    expected = states.hidden_states[0][0].norm(dim=-1) * said
    np.testing.assert_allclose(found.scores, expected, rtol=2e-4, atol=1e-5)
    assert len(found) == 1500
    assert found.track().shape == (63,)
    assert found.times()[-1, 1] == np.float32(1.25)


def test_targets_and_layers() -> None:
    model, extractor = ast()
    (every,) = explain(model, extractor, (noise(4.0), RATE), target="all", layer="all")
    assert every.scores.shape == (3, 2, 197)
    assert every.patches().shape == (3, 2, 5, 39)
    assert every.track().shape == (3, 2, 39)
    (one,) = explain(model, extractor, (noise(4.0), RATE), target=1)
    np.testing.assert_allclose(every.select(target=1, layer=2).scores, one.scores, rtol=1e-4)
    with pytest.raises(OptionError, match="axes"):
        every.top()


def test_sounds_of_one_length_together_and_of_others_alone() -> None:
    model, extractor = wav2vec2(), hf.Wav2Vec2FeatureExtractor()
    sounds = [noise(s, n) for n, s in enumerate((0.5, 0.5, 0.8, 0.5, 1.1))]
    together = explain(model, extractor, *[(sound, RATE) for sound in sounds], target=0)
    for sound, found in zip(sounds, together, strict=True):
        (alone,) = explain(model, extractor, (sound, RATE), target=0)
        np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(found.times(), alone.times())
        assert found.duration == len(sound) / RATE


# Time


def test_steps_of_a_waveform_by_arithmetic() -> None:
    """A position of wav2vec2 has read 400 samples, 320 after the one before it."""
    (found,) = explain(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), (noise(), RATE))
    middle = (200 + 320 * np.arange(49)) / RATE
    np.testing.assert_allclose(found.times().mean(1), middle, atol=1e-5)
    np.testing.assert_allclose(np.diff(found.times(), axis=1), 0.02, atol=1e-5)


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
        made = extractor(sound, sampling_rate=RATE, return_tensors="np")
        return next(iter(made.values()))

    found = sound_axis(features, RATE)
    assert found is not None
    assert found[0] == dim
    assert found[1].step == pytest.approx(step)
    assert found[1].first == pytest.approx(first, abs=max(1e-6, 0.1 * step))


def test_what_shows_no_time_is_not_guessed() -> None:
    assert sound_axis(lambda sound: np.full((1, 7), sound.sum()), RATE) is None


@pytest.mark.parametrize("kind", ["wav2vec2", "ast", "whisper", "bert"])
@pytest.mark.parametrize("at", [0.4, 1.1, 1.7])
def test_steps_lie_when_they_sound(kind: str, at: float) -> None:
    """A burst at a known time changes the norms of the steps that are said to be then."""
    if kind == "wav2vec2":
        model = wav2vec2(feat_extract_norm="layer")
        extractor = hf.Wav2Vec2FeatureExtractor(do_normalize=False)
    elif kind == "bert":
        config = hf.Wav2Vec2BertConfig(**SMALL | {"vocab_size": 9, "classifier_proj_size": 16})
        model = made(hf.Wav2Vec2BertForSequenceClassification, config)
        extractor = hf.SeamlessM4TFeatureExtractor()
    else:
        model, extractor = ast(2) if kind == "ast" else whisper()
    quiet = 0.01 * noise(2.0)
    burst = quiet.copy()
    part = slice(round(at * RATE), round((at + 0.06) * RATE))
    burst[part] += 0.5 * np.sin(np.arange(part.stop - part.start))
    found, before = explain(model, extractor, (burst, RATE), (quiet, RATE), method="norm")
    change = np.abs(found.track() - before.track())
    if kind == "bert":  # each band is scaled over the whole sound, which moves all steps
        change = np.abs(change - np.median(change))
    if kind == "whisper":  # the loudest moment sets the floor of the silence after the sound
        change[-2:] = 0
    start, end = found.times()[change.argmax()]
    slack = 0.1 if kind == "ast" else 0.045
    assert start - slack <= at + 0.03 <= end + slack


def test_a_last_frame_that_is_half_padding_is_left_out() -> None:
    """SeamlessM4T fills up to an even number of frames and masks the last pair."""
    config = hf.Wav2Vec2BertConfig(**SMALL | {"vocab_size": 9, "classifier_proj_size": 16})
    model = made(hf.Wav2Vec2BertForSequenceClassification, config)
    sounds = [(noise(0.5 + 0.01 * n), RATE) for n in range(4)]
    for found in explain(model, hf.SeamlessM4TFeatureExtractor(), *sounds):
        assert found.seconds is not None
        assert not np.isnan(found.scores).any()


def test_a_sound_that_is_not_heard_to_its_end_is_refused() -> None:
    model, extractor = ast(2)
    reader = Sounds(model, extractor, "")
    items = {0: reader.encode((noise(3.0), RATE), Reading())}
    assert "lasts 3.0 seconds, and the model hears 1.9" in str(
        reader.explain(items, Query(), 1)[0]
    ) or "hears 2.0" in str(reader.explain(items, Query(), 1)[0])


def test_a_reduced_axis() -> None:
    axis = Axis(100).reduced(20, kernel=10, stride=5, padding=0)
    assert (axis.first, axis.step) == (5.0, 5.0)
    assert Axis(10).reduced(5, 3, 2, 1).first == 0.5
    assert axis.along(Axis(100, 10.0, 2.0)).first == 10.0 + 4.5 * 2


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
    for found in results:
        np.testing.assert_allclose(found.scores, results[0].scores, rtol=2e-3, atol=1e-5)
    assert results[2].name == "a.wav"


def test_ogg_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", noise(), RATE)
    (found,) = explain(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), tmp_path / "a.ogg")
    assert found.duration == pytest.approx(1.0, abs=0.01)


def test_another_sampling_rate_is_refused_with_the_way_out() -> None:
    reader = Sounds(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), "")
    with pytest.raises(InputError, match=r"44100.*16000.*resample"):
        reader.encode((noise(), 44100), Reading())


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (noise(), "a sound is a path"),
        (3, "a sound is a path"),
        ({"path": "a.wav", "bytes": b""}, "a sound is a path"),
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
        Sounds(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), "").encode(item, Reading())


def test_a_file_that_is_no_sound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(InputError, match=r"a\.wav"):
        Sounds(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), "").encode(tmp_path / "a.wav", Reading())


def test_one_that_is_too_short_does_not_take_others_with_it() -> None:
    reader = Sounds(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), "")
    sounds = [noise(0.5), noise(0.01), noise(0.7)]
    items = {n: reader.encode((sound, RATE), Reading()) for n, sound in enumerate(sounds)}
    found = reader.explain(items, Query(), 4)
    assert isinstance(found[0], AudioAttribution)
    assert isinstance(found[1], Exception)
    assert isinstance(found[2], AudioAttribution)


@pytest.mark.parametrize("reading", [Reading(long="truncate"), Reading(position=1)])
def test_what_is_for_texts_is_refused(reading: Reading) -> None:
    with pytest.raises(OptionError, match="for texts"):
        Sounds(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), "").encode((noise(), RATE), reading)


def test_soundfile_is_an_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "soundfile":
            raise ImportError(name)
        return whole(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    reader = Sounds(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), "")
    with pytest.raises(MissingExtraError, match=r"normxlogit\[audio\]"):
        reader.encode(tmp_path / "a.wav", Reading())
    reader.encode((noise(), RATE), Reading())


# Kept and shown


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    model, extractor = ast()
    (found,) = explain(model, extractor, (noise(2.0), RATE), target="all", layer="all")
    found.save(tmp_path / "a.json")
    again = Result.load(tmp_path / "a.json")
    assert isinstance(again, AudioAttribution)
    np.testing.assert_array_equal(again.track(), found.track())
    np.testing.assert_array_equal(again.times(), found.times())
    np.testing.assert_array_equal(again.special, found.special)
    assert (again.grid, again.duration) == (found.grid, found.duration)
    assert again.to_html() == found.to_html()
    with pytest.raises(InputError, match="whole attribution"):
        Result.from_dict(found.to_dict() | {"grid": [1]})


def test_the_strongest_steps() -> None:
    (found,) = explain(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), (noise(), RATE))
    (((start, end), score), *_) = found.top(3)
    assert score == found.track().max()
    np.testing.assert_array_equal(found.times()[found.track().argmax()], (start, end))


def test_pages_are_whole_and_nothing_in_them_is_code(tmp_path: Path) -> None:
    name = tmp_path / "<img src=x onerror=alert(1)>.wav"
    soundfile.write(name, noise(), RATE)
    labels = {0: HOSTILE, 1: "b", 2: "c"}
    for model, extractor in ((wav2vec2(id2label=labels), hf.Wav2Vec2FeatureExtractor()), ast(1)):
        reader = Sounds(model, extractor, HOSTILE)
        items = {0: reader.encode(name, Reading())}
        for query in (Query(target=0), Query(target="all"), Query(target=[0, 1], layer="all")):
            found = reader.explain(items, query, 1)[0]
            assert isinstance(found, AudioAttribution)
            for html in (page([found]), page([found, found]), fragment(found)):
                assert "<script>alert" not in html
                assert "<img" not in html
                assert not re.search(r"<[^>]*\b(src|href)\s*=|url\(", html)
            assert "&lt;img src=x" in page([found])


def test_a_terminal_shows_time() -> None:
    (found,) = explain(wav2vec2(), hf.Wav2Vec2FeatureExtractor(), (noise(), RATE), target=1)
    shown = plain(found)
    assert "1.00 s" in shown
    assert "supports LABEL_1" in shown
    assert str(found) == shown
    assert "1.00 s" in repr(found)


def test_figures(tmp_path: Path) -> None:
    model, extractor = ast()
    (every,) = explain(model, extractor, (noise(3.0), RATE), target=[0, 1], layer="all")
    drawn = every.plot()
    assert sum(bool(panel.get_title()) for panel in drawn.axes) == 4
    drawn.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
