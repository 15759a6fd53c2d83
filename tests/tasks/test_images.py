"""Explanations of pictures, against algebra on what the models themselves give."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from normxlogit import InputError, MissingExtraError, OptionError, UnsupportedHeadError
from normxlogit.query import Query
from normxlogit.results.base import Result
from normxlogit.results.image import ImageAttribution
from normxlogit.results.thumbnails import LONGEST_SIDE
from normxlogit.show.dispatch import fragment, page, plain
from normxlogit.tasks import InputOptions
from normxlogit.tasks.media.image import ImageExplainer
from tests.helpers.packages import hide_package

hf: Any = transformers

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_labels": 4,
}
HOSTILE = "<script>alert(1)</script>\"'& <b>"


def vit(**fields: Any) -> Any:
    config = hf.ViTConfig(**SMALL | {"image_size": 64, "patch_size": 8} | fields)
    return build(hf.ViTForImageClassification, config)


def build(kind: Any, config: Any) -> Any:
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def square(side: int = 64) -> Any:
    return hf.ViTImageProcessor(size={"height": side, "width": side})


def noise(height: int = 100, width: int = 160, seed: int = 0) -> np.ndarray[Any, Any]:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return pixels.astype(np.uint8)


def explain(model: Any, processor: Any, *items: Any, **options: Any) -> list[ImageAttribution]:
    explainer = ImageExplainer(model, processor, "some/model")
    encoded = {n: explainer.encode(item, InputOptions()) for n, item in enumerate(items)}
    results = []
    for result in explainer.explain(encoded, Query(**options), 4).values():
        assert isinstance(result, ImageAttribution)
        results.append(result)
    return results


def pixels_of(processor: Any, item: Any) -> torch.Tensor:
    picture = item if isinstance(item, Image.Image) else Image.fromarray(item)
    values: torch.Tensor = processor(images=picture, return_tensors="pt")["pixel_values"]
    return values


# Scores


def test_a_patchs_score_is_its_norm_times_what_the_classifier_says_of_it() -> None:
    model, processor, picture = vit(), square(), noise()
    (result,) = explain(model, processor, picture, target=2)
    with torch.no_grad():
        states = model.vit(pixels_of(processor, picture), output_hidden_states=True)
        logits = model.classifier(states.last_hidden_state)[0, :, 2]
    expected = states.hidden_states[0][0].norm(dim=-1) * logits
    np.testing.assert_allclose(result.scores, expected, rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(result.patches().ravel(), expected[1:], rtol=2e-4, atol=1e-5)
    assert result.special.tolist() == [True] + [False] * 64
    assert result.grid == (8, 8)
    assert result.norms is not None
    assert result.logits is not None
    np.testing.assert_allclose(result.norms * result.logits, result.scores, rtol=1e-5)
    assert result.prediction.label == f"LABEL_{int(said_by(model, processor, picture).argmax())}"


def said_by(model: Any, processor: Any, picture: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(pixels_of(processor, picture)).logits[0]
    return logits


def test_beit_pools_patches_and_normalises_them_first() -> None:
    config = hf.BeitConfig(**SMALL | {"image_size": 64, "patch_size": 16})
    model, processor, picture = (
        build(hf.BeitForImageClassification, config),
        square(),
        noise(),
    )
    (result,) = explain(model, processor, picture, target=1)
    with torch.no_grad():
        states = model.beit(pixels_of(processor, picture), output_hidden_states=True)
        norm = model.beit.pooler.layernorm
        logits = model.classifier(norm(states.hidden_states[-1]))[0, :, 1]
    expected = states.hidden_states[0][0].norm(dim=-1) * logits
    np.testing.assert_allclose(result.patches().ravel(), expected[1:], rtol=2e-4, atol=1e-5)
    assert result.grid == (4, 4)


def test_clip_reads_the_mean_of_its_patches() -> None:
    vision = {**SMALL, "image_size": 64, "patch_size": 16}
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 16, "vocab_size": 10, "eos_token_id": 9, "bos_token_id": 8}
    config = hf.CLIPConfig(vision_config=vision, text_config=text, num_labels=3)
    model, picture = build(hf.CLIPForImageClassification, config), noise()
    processor = hf.CLIPImageProcessor(
        size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
    )
    (result,) = explain(model, processor, picture, target=0)
    with torch.no_grad():
        pixels, vision_model = pixels_of(processor, picture), model.vision_model
        vision_model = getattr(vision_model, "vision_model", vision_model)
        logits = model.classifier(vision_model(pixels).last_hidden_state)[0, :, 0]
        first = vision_model.pre_layrnorm(vision_model.embeddings(pixels))
    expected = first[0].norm(dim=-1) * logits
    np.testing.assert_allclose(result.patches().ravel(), expected[1:], rtol=2e-4, atol=1e-5)
    assert result.special.sum() == 1


def test_a_model_without_cls_has_no_special_positions() -> None:
    config = hf.IJepaConfig(**SMALL | {"image_size": 64, "patch_size": 16})
    model = build(hf.IJepaForImageClassification, config)
    (result,) = explain(model, square(), noise())
    assert result.grid == (4, 4)
    assert not result.special.any()


def test_dinov2_joins_cls_and_the_mean_of_patches_and_is_judged_by_its_own_head() -> None:
    """Its head reads a CLS and a mean: either vouched for, or refused, never a number of ours."""
    config = hf.Dinov2Config(**SMALL | {"image_size": 64, "patch_size": 16})
    model = build(hf.Dinov2ForImageClassification, config)
    try:
        (result,) = explain(model, square(), noise())
    except UnsupportedHeadError:
        return
    assert result.grid == (4, 4)
    assert result.special.sum() == 1


def test_a_pyramid_needs_logat_and_then_each_cell_is_read_alone() -> None:
    config = hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=4)
    model, processor, picture = (
        build(hf.ResNetForImageClassification, config),
        square(),
        noise(),
    )
    with pytest.raises(UnsupportedHeadError, match="logat"):
        explain(model, processor, picture)
    (result,) = explain(model, processor, picture, method="logat", target=3)
    with torch.no_grad():
        cells = model.resnet(pixels_of(processor, picture)).last_hidden_state[0]
        linear = model.classifier[-1]
        expected = torch.einsum("chw,c->hw", cells, linear.weight[3]) + linear.bias[3]
    np.testing.assert_allclose(result.patches(), expected, rtol=1e-4, atol=1e-5)
    assert result.norms is None
    assert not result.special.any()


def test_patches_that_were_merged_lie_where_their_parts_did() -> None:
    config = hf.SwinConfig(
        image_size=64,
        patch_size=4,
        embed_dim=16,
        depths=[1, 1, 1],
        num_heads=[2, 2, 2],
        window_size=4,
        num_labels=3,
    )
    model = build(hf.SwinForImageClassification, config)
    (result,) = explain(model, square(), noise(64, 64), method="logat")
    if result.grid is None:
        assert result.note
    else:
        assert result.grid == (4, 4)
        assert result.box == pytest.approx((0, 0, 64, 64), abs=0.5)


def test_targets_layers_and_contrast() -> None:
    model, processor, picture = vit(), square(), noise()
    (every,) = explain(model, processor, picture, target="all", layer="all")
    assert every.axes == ("target", "layer")
    assert every.scores.shape == (4, 3, 65)
    assert every.patches().shape == (4, 3, 8, 8)
    assert every.heatmap().shape == (4, 3, 100, 160)
    (single,) = explain(model, processor, picture, target=2)
    np.testing.assert_allclose(every.select(target=2, layer=3).scores, single.scores, rtol=1e-5)
    (against,) = explain(model, processor, picture, target=2, contrast=0)
    (zero,) = explain(model, processor, picture, target=0)
    np.testing.assert_allclose(against.scores, single.scores - zero.scores, rtol=1e-3, atol=1e-5)
    with pytest.raises(OptionError, match="axes"):
        every.top()


def test_several_labels_may_hold() -> None:
    model = vit(problem_type="multi_label_classification")
    some = explain(model, square(), noise(seed=1), noise(seed=2), threshold=0.4)
    for result in some:
        assert len(result.targets) == len(result.scores) == max(1, len(result.prediction.predicted))


def test_together_is_as_alone() -> None:
    model, processor = vit(), square()
    pictures = [noise(40 + 10 * n, 50, n) for n in range(5)]
    together = explain(model, processor, *pictures, target=1)
    for picture, result in zip(pictures, together, strict=True):
        (alone,) = explain(model, processor, picture, target=1)
        np.testing.assert_allclose(result.scores, alone.scores, rtol=1e-4, atol=1e-5)
        assert result.original == picture.shape[:2]


def test_the_strongest_patches_come_first() -> None:
    (result,) = explain(vit(), square(), noise())
    (cell, score), *_ = result.top(3)
    assert score == result.patches().max() == result.patches()[cell]
    assert len(result.top(3)) == 3


def test_the_model_is_left_as_it_was() -> None:
    model = vit()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    explain(model, square(), noise())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


# Geometry


PROCESSORS = {
    "squeezed": square(),
    "cropped": hf.CLIPImageProcessor(
        size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
    ),
    "crop_pct": hf.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.8),
    "resized_then_cropped": hf.BitImageProcessor(
        size={"shortest_edge": 80}, crop_size={"height": 64, "width": 64}
    ),
    "padded_crop": hf.MobileViTImageProcessor(
        size={"shortest_edge": 56}, crop_size={"height": 64, "width": 64}
    ),
    "padded": hf.DonutImageProcessor(size={"height": 64, "width": 64}),
    "unscaled": hf.CLIPImageProcessor(do_resize=False, crop_size={"height": 64, "width": 64}),
}


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("size", [(96, 128), (300, 100), (61, 97), (700, 900)])
def test_patches_lie_over_what_they_show(name: str, size: tuple[int, int]) -> None:
    """A bright square at a known place is bright in the patches that are said to lie there."""
    processor, (height, width) = PROCESSORS[name], size
    explainer = ImageExplainer(vit(), processor, "")
    seen = 0
    for at in ((0.5, 0.5), (0.3, 0.45), (0.66, 0.6), (0.42, 0.7), (0.1, 0.1), (0.9, 0.85)):
        y, x = int(at[0] * height), int(at[1] * width)
        half = 6 if name == "unscaled" else max(2, min(size) // 20)
        picture = np.zeros((*size, 3), np.uint8)
        picture[y - half : y + half, x - half : x + half] = 255
        result = explainer.explain({0: explainer.encode(picture, InputOptions())}, Query(), 1)[0]
        assert isinstance(result, ImageAttribution)
        assert result.box is not None
        values = pixels_of(processor, picture)[0].mean(0)
        bright = (values - values.median()).clamp_min(0).reshape(8, 8, 8, 8).sum((1, 3))
        weights = bright.numpy() / float(bright.sum()) if bright.sum() > 0 else None
        left, upper, right, lower = result.box
        inside = left + half < x < right - half and upper + half < y < lower - half
        if not inside:
            continue
        assert weights is not None
        seen += 1
        cell = np.unravel_index(weights.argmax(), weights.shape)
        a, b, c, d = result.cell(int(cell[0]), int(cell[1]))
        slack = 0.02 * max(size)
        assert a - half - slack <= x <= c + half + slack
        assert b - half - slack <= y <= d + half + slack
        # the centre of the light, to a fraction of a patch
        across = np.array([sum(result.cell(0, k)[::2]) / 2 for k in range(8)])
        down = np.array([sum(result.cell(r, 0)[1::2]) / 2 for r in range(8)])
        assert abs(float(weights.sum(0) @ across) - x) < 0.55 * (c - a) + slack
        assert abs(float(weights.sum(1) @ down) - y) < 0.55 * (d - b) + slack
    assert seen >= 1


@pytest.mark.parametrize(
    ("name", "size", "box"),
    [
        ("squeezed", (480, 640), (0, 0, 640, 480)),
        ("cropped", (480, 640), (80, 0, 560, 480)),
        ("cropped", (900, 300), (0, 300, 300, 600)),
        ("crop_pct", (480, 640), (128, 48, 512, 432)),
        ("resized_then_cropped", (480, 640), (128, 48, 512, 432)),
        ("padded_crop", (560, 560), (-40, -40, 600, 600)),
        ("unscaled", (480, 640), (288, 208, 352, 272)),
        ("unscaled", (40, 20), (-22, -12, 42, 52)),
    ],
)
def test_boxes_by_arithmetic(
    name: str, size: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    (result,) = explain(vit(), PROCESSORS[name], np.zeros((*size, 3), np.uint8))
    assert result.box is not None
    np.testing.assert_allclose(result.box, box, atol=0.012 * max(size))
    assert result.note == ""


def test_a_size_that_patches_do_not_fill() -> None:
    """60 pixels hold 7 patches of 8; the last 4 pixels belong to none."""
    (result,) = explain(vit(image_size=60), square(60), noise(120, 120))
    assert result.size == (60, 60)
    assert result.grid == (7, 7)
    assert result.box == pytest.approx((0, 0, 112, 112), abs=0.5)
    heat = result.heatmap()
    assert np.isnan(heat[115:]).all()
    assert not np.isnan(heat[:110, :110]).any()


def test_a_picture_that_is_not_square() -> None:
    model = vit(image_size=(32, 64))
    processor = hf.ViTImageProcessor(size={"height": 32, "width": 64})
    (result,) = explain(model, processor, noise(64, 128), target=0)
    assert result.grid == (4, 8)
    with torch.no_grad():
        states = model.vit(
            pixels_of(processor, noise(64, 128)), output_hidden_states=True
        ).hidden_states[0]
    assert result.norms is not None
    np.testing.assert_allclose(result.norms, states[0].norm(dim=-1), rtol=1e-4)
    assert result.cell(0, 7) == pytest.approx((112, 0, 128, 16))


def test_a_heat_map_has_each_patchs_score_at_its_place() -> None:
    (result,) = explain(vit(), square(), noise(80, 160))
    heat = result.heatmap()
    np.testing.assert_array_equal(heat[::10, ::20][:8, :8], result.patches())
    assert len(np.unique(heat)) == len(np.unique(result.patches()))
    smooth = result.heatmap(smooth=True)
    assert smooth.max() <= result.patches().max() + 1e-6
    np.testing.assert_allclose(
        smooth[5, 10], result.patches()[0, 0], atol=0.1 * float(np.ptp(result.patches()))
    )


def test_where_the_grid_is_not_known_it_is_said() -> None:
    config = hf.SegformerConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1] * 4,
        num_attention_heads=[1] * 4,
        decoder_hidden_size=8,
        num_labels=3,
    )
    model = build(hf.SegformerForImageClassification, config)
    (result,) = explain(model, square(), noise(), method="logat")
    assert result.grid is None
    assert "could not be determined" in result.note
    with pytest.raises(InputError, match="could not be determined"):
        result.patches()
    with pytest.raises(InputError, match="could not be determined"):
        result.overlay()
    assert "could not be determined" in plain(result)
    assert "could not be determined" in fragment(result)


def test_a_picture_too_small_to_tell_has_a_grid_and_no_box() -> None:
    (result,) = explain(vit(), square(), noise(5, 9))
    assert result.grid == (8, 8)
    assert result.box is None
    assert "could not be determined" in result.note
    with pytest.raises(InputError, match="not known"):
        result.heatmap()
    assert result.patches().shape == (8, 8)
    assert "not laid over" in result.to_html()
    result.plot()


# Pictures as they come


def test_files_images_arrays_and_tensors_are_the_same(tmp_path: Path) -> None:
    pixels = noise()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    items = [
        pixels,
        Image.fromarray(pixels),
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        torch.from_numpy(pixels),
        pixels.astype(np.float32) / 255,
        np.dstack([pixels, np.full(pixels.shape[:2], 7, np.uint8)]),
        Image.fromarray(pixels).convert("RGBA"),
    ]
    results = explain(vit(), square(), *items, target=0)
    for result in results:
        np.testing.assert_allclose(result.scores, results[0].scores, rtol=1e-4, atol=1e-5)
    assert results[2].name == "a.png"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "CMYK", "YCbCr", "HSV", "I;16"])
def test_any_mode_becomes_rgb(mode: str) -> None:
    grey = Image.fromarray(noise()).convert("L")
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        assert picture.mode == mode
    else:
        picture = grey.convert("RGB").convert(mode)
    expected = grey if mode == "I;16" else picture.convert("RGB")
    result, same = explain(vit(), square(), picture, expected.convert("RGB"), target=0)
    np.testing.assert_allclose(result.scores, same.scores, rtol=1e-4, atol=1e-5)


def test_a_picture_is_turned_as_its_exif_data_says(tmp_path: Path) -> None:
    upright = Image.fromarray(noise(60, 90))
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "lying.png", exif=exif)
    turned, same = explain(vit(), square(), tmp_path / "lying.png", upright, target=0)
    assert turned.original == (60, 90)
    np.testing.assert_allclose(turned.scores, same.scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (3, "an image is a PIL image"),
        (None, "an image is a PIL image"),
        ("nowhere.png", "nowhere.png"),
        (np.zeros((3, 8, 8), np.uint8), "channels last"),
        (np.zeros((1, 8, 8, 3), np.uint8), "as a list"),
        (np.zeros((8, 8, 2), np.uint8), r"\[8, 8, 2\]"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
        (np.zeros(8, np.uint8), r"\[8\]"),
        (np.full((8, 8, 3), np.nan), "not finite"),
        (np.full((8, 8, 3), -1.5), "from 0 to 1"),
        (np.full((8, 8, 3), 255.0), "from 0 to 1"),
        (np.zeros((8, 8, 3), np.int64), "int64"),
        (Image.new("F", (8, 8)), "mode 'F'"),
        (Image.new("RGB", (0, 8)), "no pixels"),
    ],
)
def test_what_is_no_picture_is_refused(item: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ImageExplainer(vit(), square(), "").encode(item, InputOptions())


def test_files_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    explainer = ImageExplainer(vit(), square(), "")
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(noise()).save(tmp_path / "whole.png")
    half = (tmp_path / "whole.png").read_bytes()[:3000]
    (tmp_path / "half.png").write_bytes(half)
    for name in ("text.png", "half.png", ""):
        with pytest.raises(InputError):
            explainer.encode(tmp_path / name, InputOptions())


@pytest.mark.parametrize(
    "reading",
    [InputOptions(long="window"), InputOptions(is_split_into_words=True), InputOptions(position=0)],
)
def test_what_is_for_texts_is_refused(reading: InputOptions) -> None:
    with pytest.raises(OptionError, match="for texts"):
        ImageExplainer(vit(), square(), "").encode(noise(), reading)


def test_one_that_fails_does_not_take_others_with_it() -> None:
    explainer = ImageExplainer(vit(), square(), "")
    encoded = {n: explainer.encode(noise(seed=n), InputOptions()) for n in range(3)}
    encoded[1].inputs["pixel_values"][:] = torch.nan
    results = explainer.explain(encoded, Query(), 4)
    assert isinstance(results[0], ImageAttribution)
    assert isinstance(results[2], ImageAttribution)
    assert "not finite" in str(results[1])


def test_a_processor_that_gives_no_rows_and_columns() -> None:
    explainer = ImageExplainer(vit(), hf.Siglip2ImageProcessor(), "")
    item = explainer.encode(noise(), InputOptions())
    assert item.info.size is None


def test_pillow_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    explainer = ImageExplainer(vit(), square(), "")
    (result,) = explain(vit(), square(), noise())
    hide_package(monkeypatch, "PIL")
    with pytest.raises(MissingExtraError, match=r"normxlogit\[image\]"):
        explainer.encode(noise(), InputOptions())
    again = Result.from_dict(result.to_dict())
    assert "data:image/png" in again.to_html()


# Kept and shown


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    (result,) = explain(vit(), PROCESSORS["cropped"], noise(), target="all", layer="all")
    result.save(tmp_path / "a.json")
    again = Result.load(tmp_path / "a.json")
    assert isinstance(again, ImageAttribution)
    np.testing.assert_array_equal(again.patches(), result.patches())
    np.testing.assert_array_equal(again.special, result.special)
    assert again.box == pytest.approx(result.box)
    assert (again.grid, again.size, again.original) == (result.grid, result.size, result.original)
    assert again.to_html() == result.to_html()
    assert again.picture is not None
    np.testing.assert_array_equal(np.asarray(again.picture), noise())


def test_the_copy_of_a_picture_is_small() -> None:
    (result,) = explain(vit(), square(), noise(600, 1200))
    assert result.picture is not None
    assert result.picture.size == (LONGEST_SIDE, LONGEST_SIDE // 2)
    assert result.overlay().size == (LONGEST_SIDE, LONGEST_SIDE // 2)


@pytest.mark.parametrize(
    "change",
    [
        {"grid": [3, 3]},
        {"grid": [8]},
        {"box": [1, 2]},
        {"size": [0, 3]},
        {"picture": "not base64!"},
        {"picture": base64.b64encode(b"<script>").decode()},
        {"special": None},
    ],
)
def test_what_does_not_fit_is_not_loaded(change: dict[str, Any]) -> None:
    (result,) = explain(vit(), square(), noise())
    with pytest.raises(InputError, match="whole attribution"):
        Result.from_dict(result.to_dict() | change)


def test_without_a_picture_scores_are_drawn_all_the_same() -> None:
    (result,) = explain(vit(), square(), noise())
    bare = Result.from_dict(json.loads(json.dumps(result.to_dict() | {"picture": None})))
    assert isinstance(bare, ImageAttribution)
    assert bare.picture is None
    assert "<rect" in bare.to_html()
    bare.plot()
    with pytest.raises(InputError, match="no copy"):
        bare.overlay()
    assert bare.overlay(Image.fromarray(noise())).size == (160, 100)


def test_an_overlay_is_blue_where_scores_are_positive() -> None:
    (result,) = explain(
        vit(), PROCESSORS["cropped"], np.full((64, 128, 3), 128, np.uint8), target=0
    )
    drawn = np.asarray(result.overlay()).astype(int)
    heat = result.heatmap()
    strong = np.abs(np.nan_to_num(heat)) > 0.3 * np.nanmax(np.abs(heat))
    blue, red = drawn[..., 2], drawn[..., 0]
    assert (blue[strong & (heat > 0)] > red[strong & (heat > 0)]).all()
    assert (blue[strong & (heat < 0)] < red[strong & (heat < 0)]).all()
    outside = drawn[np.isnan(heat)]
    assert len(outside) > 0
    assert (outside == outside[0, 0]).all()
    with pytest.raises(InputError, match="proportions"):
        result.overlay(Image.new("RGB", (64, 64)))


def test_pages_are_whole_and_nothing_in_them_is_code(tmp_path: Path) -> None:
    name = tmp_path / "<img src=x onerror=alert(1)>.png"
    Image.fromarray(noise()).save(name)
    model = vit(id2label={0: HOSTILE, 1: "b", 2: "c", 3: "d"})
    explainer = ImageExplainer(model, square(), HOSTILE)
    items = {0: explainer.encode(name, InputOptions())}
    for query in (Query(target=0), Query(target="all"), Query(target=[0, 1], layer="all")):
        result = explainer.explain(items, query, 1)[0]
        assert isinstance(result, ImageAttribution)
        for html in (page([result]), page([result, result]), fragment(result)):
            assert "<script>alert" not in html
            assert "<img" not in html
            assert not re.search(
                r"<[^>]*\b(src|href)\s*=|url\((?!data:image/(png|svg\+xml);base64,)", html
            )
        assert "&lt;img src=x" in page([result])


def test_a_terminal_shows_the_grid() -> None:
    (result,) = explain(vit(), square(), noise(), target=1)
    shown = plain(result)
    assert sum(line.startswith(" │") for line in shown.splitlines()) == 8
    assert "row " in shown
    assert "supports LABEL_1" in shown
    assert str(result) == shown
    assert "160 x 100" in repr(result)


def test_a_terminal_shows_large_grids_coarsely() -> None:
    (result,) = explain(vit(image_size=240), square(240), noise(240, 240))
    shown = plain(result)
    assert result.grid == (30, 30)
    assert sum(line.startswith(" │") for line in shown.splitlines()) == 15
    assert "mean of 2 x 2 patches" in shown


def test_figures(tmp_path: Path) -> None:
    (every,) = explain(vit(), PROCESSORS["cropped"], noise(), target=[0, 1], layer="all")
    drawn = every.plot()
    assert sum(bool(panel.get_title()) for panel in drawn.axes) == 6
    drawn.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
