import torch
import torch.nn.functional as F

from course_lib.data.scenes import draw_scenes
from course_lib.evaluation.masks import iou
from course_lib.models.detector import Detector, DetectorConfig


def tiny(seed=0, dim=4):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Detector(DetectorConfig(dim=dim))


def test_there_is_one_logit_a_pixel_at_any_even_size():
    for height, width in ((32, 32), (8, 14)):
        logits = tiny()(torch.randn(3, 3, height, width))
        assert logits.shape == (3, 1, height, width)


def test_the_sprite_is_found_where_the_logit_is_above_zero_each_frame_on_its_own():
    model, video = tiny(), torch.randn(2, 4, 3, 8, 8)
    found = model.find(video)
    assert found.shape == (2, 4, 1, 8, 8)
    for clip, mask in zip(video, found, strict=True):
        for frame, expected in zip(clip, mask, strict=True):
            assert torch.equal(model(frame[None])[0] > 0, expected)
    assert 0 < found.float().mean() < 1


def test_a_pixel_is_judged_by_its_surroundings_and_by_nothing_far_away():
    frames = torch.randn(1, 3, 48, 48, requires_grad=True)
    tiny(dim=8)(frames)[0, 0, 24, 24].backward()
    seen = (frames.grad[0] != 0).any(0).nonzero()
    reach = (seen - 24).abs().max().item()
    assert 8 <= reach <= 16  # pixels: a sprite's size
    assert frames.grad[0, :, 24, 24].abs().min() > 0


def test_it_learns_where_the_sprites_are():
    generator = torch.Generator().manual_seed(0)
    scenes = draw_scenes(8, num_frames=1, generator=generator)
    frames, masks = scenes.video[:, 0], scenes.mask[:, 0]
    model = tiny(dim=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(50):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(model(frames), masks.float()).backward()
        optimizer.step()
    assert iou(model.find(scenes.video), scenes.mask).mean() > 0.7
