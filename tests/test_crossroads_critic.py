import pytest
import torch

from course_lib.data.crossroads import CUE_OF_DIGIT
from course_lib.models.videogan_conditional import ConditionalConfig, ConditionalVideoGAN
from course_lib.recipes.chapter0 import make_exam, world
from course_lib.recipes.crossroads_critic import (
    clips_and_means,
    four_kinds,
    future_shares,
    learn_to_tell,
    where_it_looks,
)

TINY = ConditionalConfig(
    size=32,
    num_frames=12,
    channels=1,
    latent_dim=2,
    start_frames=3,
    context=3,
    context_dims=(4, 4, 4),
    foreground_dims=(4, 4, 4),
    background_dims=(4, 4, 4),
    discriminator_dims=(4, 4, 4),
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_each_mean_is_that_of_the_futures_of_its_clip():
    video, means = clips_and_means(12, generator=seeded())
    drawn = world("train").sample(12, generator=seeded())
    assert torch.equal(video, drawn.video)
    for mean, index, arrival in zip(means, drawn.index, drawn.arrival, strict=True):
        futures = world("train").futures(int(index), int(arrival))
        expected = torch.cat([futures.context, futures.mean()])
        torch.testing.assert_close(mean, expected, atol=1e-6, rtol=0)
    certain = CUE_OF_DIGIT[drawn.label] == 0
    equal = (means - video).abs().flatten(1).amax(1) < 1e-6
    assert torch.equal(equal, certain)


def test_the_four_kinds_continue_the_same_contexts_each_in_its_own_way():
    exam = make_exam(2)
    kinds = four_kinds(ConditionalVideoGAN(TINY).eval(), exam, generator=seeded())
    assert list(kinds) == ["true future", "exact mean", "likeliest future", "model's sample"]
    for clips in kinds.values():
        assert torch.equal(clips[:, :3], exam.context)
    for n, futures in enumerate(exam.futures):
        possible = [clip for clip, p in zip(futures.clips, futures.probs, strict=True) if p > 0]
        for kind in ("true future", "likeliest future"):
            assert any(torch.equal(kinds[kind][n, 3:], clip) for clip in possible)
        assert not any(torch.equal(kinds["exact mean"][n, 3:], clip) for clip in possible)


def test_a_few_updates_tell_clips_from_means_and_equal_seeds_give_equal_losses():
    def train(steps):
        return list(learn_to_tell(steps, generator=seeded()))

    trained = train(40)
    assert [loss for _, loss in train(3)] == [loss for _, loss in trained[:3]]
    exam = make_exam(2)
    happened = torch.stack([f.clips[int(f.probs.argmax())] for f in exam.futures])
    with torch.no_grad():
        real, blurred = (
            trained[-1][0](torch.cat([exam.context, future], 1)) for future in (happened, exam.mean)
        )
    assert real.min() > blurred.max()


def test_where_it_looks_is_the_size_of_the_slope_relative_to_the_largest_cell():
    weights = torch.zeros(2, 1, 4, 4)
    weights[0, 0, :2, :2] = -4.0  # the sign does not count
    weights[1, 0, 2:, 2:] = torch.tensor([[1.0, -1.0], [-3.0, 3.0]])  # 2 on average
    video = torch.rand(3, 2, 1, 4, 4, generator=seeded())
    looks = where_it_looks(lambda clips: (clips * weights).flatten(1).sum(1), video, cell=2)
    expected = torch.full((2, 1, 4, 4), -1.0)
    expected[0, 0, :2, :2], expected[1, 0, 2:, 2:] = 1.0, 0.0
    torch.testing.assert_close(looks, expected.expand(3, -1, -1, -1, -1))
    assert not video.requires_grad


def test_cells_that_do_not_fill_a_frame_are_named():
    with pytest.raises(ValueError, match="cell is 3; permitted: what divides 4"):
        where_it_looks(lambda clips: clips.flatten(1).sum(1), torch.zeros(1, 2, 1, 4, 4), cell=3)


def test_every_sample_counts_for_its_nearest_future():
    futures = make_exam(2).futures[0]
    samples = futures.clips[[0, 2, 2, 2]] + 0.1
    assert future_shares(samples, futures).tolist() == [0.25, 0.0, 0.75]
