import numpy as np
import pytest
import torch

from course_lib.data import scenes
from course_lib.data.digits import Digits
from course_lib.data.scenes import draw_scenes


def draw(num_clips, preset="plain", seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    return draw_scenes(num_clips, preset=preset, generator=generator, **changes)


@pytest.fixture(scope="module", params=["plain", "hard"])
def many(request):
    return request.param, draw(300, request.param)


def covers(drawn):
    """How much the sprite covers, from colours alone, of the clips where it is full somewhere.

    A sprite's colour has one channel at 1, which no background reaches: where a pixel has it, the
    cover is 1 and the colour plain to see.
    """
    for video, mask, background in zip(drawn.video, drawn.mask, drawn.background, strict=True):
        pixels = video.permute(0, 2, 3, 1).double().numpy()  # (T, S, S, 3)
        behind = background.permute(1, 2, 0).double().numpy()
        full = (pixels.max(-1) > 1 - 1e-6) & (pixels != behind).any(-1)
        if full.any():
            colour = pixels[full][0]
            away = colour - behind
            cover = ((pixels - behind) * away).sum(-1) / (away * away).sum(-1)
            mixed = cover[..., None] * colour + (1 - cover[..., None]) * behind
            yield cover, pixels - mixed, mask[:, 0].numpy()


def test_clips_have_their_shapes_and_ranges(many):
    _, drawn = many
    assert drawn.video.shape == (300, 8, 3, 32, 32)
    assert drawn.mask.shape == (300, 8, 1, 32, 32)
    assert drawn.background.shape == (300, 3, 32, 32)
    assert drawn.video.dtype == drawn.background.dtype == torch.float32
    for values in (drawn.video, drawn.background):
        assert values.min() >= -1
        assert values.max() <= 1


def test_a_plain_background_is_darker_than_every_sprite():
    drawn = draw(100)
    assert drawn.background.max() <= -0.2
    sprites = drawn.video.masked_fill(~drawn.mask, -1).amax((1, 2, 3, 4))
    assert sprites.min() > 0.99


def test_hard_backgrounds_take_all_shades():
    background = draw(100, "hard").background
    assert background.min() < -0.7
    assert background.max() > 0.7
    assert (background.diff(dim=-1).sign().diff(dim=-1) != 0).flatten(1).any(1).all()  # blots


def test_a_clip_is_its_colour_over_its_background_and_the_mask_is_where_half_is_covered(many):
    preset, drawn = many
    found = list(covers(drawn))
    assert len(found) > {"plain": 290, "hard": 100}[preset]
    for cover, rest, mask in found:
        assert abs(rest).max() < 1e-5
        assert cover.min() > -1e-5
        assert cover.max() < 1 + 1e-5
        clear = abs(cover - 0.5) > 1e-4
        assert ((cover >= 0.5) == mask)[clear].all()


def test_beside_the_sprite_the_video_is_the_background_exactly(many):
    _, drawn = many
    differs = (drawn.video != drawn.background[:, None]).any(2).numpy()  # (B, T, S, S)
    for axis in (2, 3):  # a sprite and its soft edge are at most 14 pixels high and wide
        lines = differs.any(axis)
        extent = lines.shape[-1] - lines[..., ::-1].argmax(-1) - lines.argmax(-1)
        assert extent.max() <= 14
    assert (differs | ~drawn.mask[:, :, 0].numpy()).all()


def test_a_plain_sprites_edge_is_one_pixel_wide():
    drawn = draw(100)
    differs = (drawn.video != drawn.background[:, None]).any(2).numpy()
    near = np.zeros_like(differs)
    padded = np.pad(drawn.mask[:, :, 0].numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    for dy in range(3):
        for dx in range(3):
            near |= padded[:, :, dy : dy + 32, dx : dx + 32]
    assert not (differs & ~near).any()


def test_plain_sprites_are_discs_squares_and_diamonds_of_the_stated_size():
    areas = draw(600, size=64, num_frames=1).mask.flatten(1).sum(1) / 4  # pixels of 32
    # 3.14 r^2, 4 r^2 and 2 r^2 with r in 4..5.
    assert 30 < areas.min() < 35
    assert 95 < areas.max() < 103
    shares = [((areas > a) & (areas < b)).float().mean() for a, b in ((0, 50), (50, 64), (79, 200))]
    # Diamonds; small discs (up to r^2 = 64 / pi); large squares (from r^2 = 79 / 4).
    expected = [1 / 3, ((64 / np.pi) ** 0.5 - 4) / 3, (5 - (79 / 4) ** 0.5) / 3]
    for share, chance in zip(shares, expected, strict=True):
        assert abs(share - chance) < 4 * (chance * (1 - chance) / 600) ** 0.5


def centres(mask, size):
    """Mean place of the mask's pixels, (B, T, 2), in pixels of 32."""
    weights = mask[:, :, 0].double()
    pixel = (torch.arange(size).double() + 0.5) * 32 / size
    x, y = (weights.sum(axis) @ pixel / weights.sum((2, 3)) for axis in (2, 3))
    return torch.stack([x, y], -1)


def test_a_sprite_walks_straight_at_two_to_three_pixels_a_frame(many):
    preset, _ = many
    drawn = draw(60, preset, size=64)
    solid = drawn.mask.flatten(2).sum(2).amin(1) > 80  # a thin digit's mask wavers
    steps = centres(drawn.mask[solid], 64).diff(dim=1)
    assert solid.sum() > 30
    # A square's mask moves by half pixels.
    assert (steps - steps.mean(1, keepdim=True)).abs().max() < 0.6
    speeds = steps.mean(1).norm(dim=-1)
    assert speeds.min() > 1.9
    assert speeds.max() < 3.1
    assert speeds.max() - speeds.min() > 0.6
    angles = torch.atan2(steps[..., 1], steps[..., 0]).mean(1)
    assert all(((angles > low) & (angles <= low + 1.6)).any() for low in (-3.15, -1.6, 0, 1.55))


@pytest.mark.parametrize(
    ("preset", "num_frames"), [("plain", 8), ("hard", 8), ("plain", 11), ("hard", 10), ("hard", 1)]
)
def test_a_sprite_stays_in_the_picture(preset, num_frames):
    mask = draw(60, preset, num_frames=num_frames, size=64).mask
    border = torch.ones(64, 64, dtype=torch.bool)
    border[1:-1, 1:-1] = False  # half a pixel of 32: the soft edge
    assert not (mask & border).any()
    assert mask.flatten(2).any(2).all()


def test_a_walk_begins_anywhere(many):
    _, drawn = many
    first = centres(drawn.mask[:, :1], 32).flatten(0, 1)
    first = first[~first.isnan().any(1)]
    assert (first.mean(0) - 16).abs().max() < 1.2
    assert (first.std(0) > 4).all()


def test_within_a_clip_the_sprite_leaves_its_first_place(many):
    _, drawn = many
    assert not (drawn.mask[:, 0] & drawn.mask[:, -1]).any()
    assert not drawn.mask.all(1).any()


def test_the_same_generator_gives_the_same_clips_and_torchs_own_is_left_alone(many):
    preset, _ = many
    before = torch.get_rng_state()
    first, again, other = draw(3, preset), draw(3, preset), draw(3, preset, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    for name in ("video", "mask", "background"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))


def test_a_larger_picture_shows_the_same_scene_more_finely(many):
    preset, _ = many
    small, large = draw(40, preset), draw(40, preset, size=96)
    for name in ("video", "background"):
        fine = getattr(large, name)
        pooled = fine.unflatten(-1, (32, 3)).mean(-1).unflatten(-2, (32, 3)).mean(-2)
        difference = (pooled - getattr(small, name)).abs()
        assert difference.mean() < 0.015
    covered = [drawn.mask.double().mean().item() for drawn in (small, large)]
    assert covered[0] == pytest.approx(covered[1], rel=0.1)


def test_hard_scenes_show_digits_of_the_named_split_alone(monkeypatch):
    images = {split: torch.zeros(1, 28, 28, dtype=torch.uint8) for split in ("train", "test")}
    images["train"][:, :14] = 255  # the upper half
    images["test"][:, :, :14] = 255  # the left half
    digits = {name: Digits(image, torch.zeros(1).long()) for name, image in images.items()}
    scenes._ink.cache_clear()
    monkeypatch.setattr(scenes, "load_digits", digits.__getitem__)
    try:
        for split, wide in (("train", True), ("test", False)):
            mask = draw(9, "hard", split=split, num_frames=1, size=96).mask[:, 0, 0]
            width, height = mask.any(1).sum(1), mask.any(2).sum(1)
            side = torch.maximum(width, height) / 3  # pixels of 32
            assert side.mean() == pytest.approx(12, abs=0.2)
            assert ((width > 1.5 * height) == wide).all()
            assert ((height > 1.5 * width) != wide).all()
    finally:
        scenes._ink.cache_clear()


def test_digits_are_many():
    masks = draw(40, "hard", num_frames=1, size=96).mask[:, 0, 0].sum((1, 2))
    assert len(set(masks.tolist())) > 30


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "soft"}, "preset is 'soft'; permitted: plain, hard"),
        ({"split": "held"}, "split is 'held'; permitted: train, test"),
        ({"num_clips": 0}, "num_clips is 0; permitted: 1 and more"),
        ({"num_frames": 0}, r"num_frames is 0; .* 1\.\.11"),
        ({"num_frames": 12}, r"num_frames is 12; .* preset plain .* 1\.\.11"),
        ({"num_frames": 11, "preset": "hard"}, r"num_frames is 11; .* preset hard .* 1\.\.10"),
    ],
)
def test_a_bad_argument_is_named_with_what_is_permitted(changes, message):
    with pytest.raises(ValueError, match=message):
        draw(**{"num_clips": 1, **changes})
