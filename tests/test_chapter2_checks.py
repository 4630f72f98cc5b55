"""Every checker of chapter 2 is checked: right answers pass, wrong ones get their message."""

from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from checked import CheckedChapter

from course_lib.checks import chapter2 as check


@pytest.fixture(autouse=True)
def reader(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))


# Composition.


def compose(foreground, background, mask):
    still = background.unsqueeze(1)
    return still + mask * (foreground - still)


def compose_clip_by_clip(foreground, background, mask):
    clips = []
    for moving, still, share in zip(foreground, background, mask, strict=True):
        clips.append(share * moving + (1 - share) * still.repeat(len(moving), 1, 1, 1))
    return torch.stack(clips)


def compose_over_the_last(foreground, background, mask):
    video = torch.empty_like(foreground)
    below = background
    for t in range(foreground.shape[1]):
        below = mask[:, t] * foreground[:, t] + (1 - mask[:, t]) * below
        video[:, t] = below
    return video


def compose_in_place(foreground, background, mask):
    return foreground.mul_(mask) + (1 - mask) * background[:, None]


COMPOSITIONS = {
    "mask and 1 - mask are swapped": lambda f, b, m: (1 - m) * f + m * b[:, None],
    "clips went along the time axis": lambda f, b, m: m * f + (1 - m) * b[None],
    "channels went along the time axis": lambda f, b, m: m * f + (1 - m) * b.unsqueeze(2),
    "each frame over the one before": compose_over_the_last,
    "to the whole background": lambda f, b, m: m * f + b[:, None],
    "added the whole foreground": lambda f, b, m: f + (1 - m) * b[:, None],
    "the mask has no say": lambda f, b, m: b[:, None] + f,
    "left out the background": lambda f, b, m: f * m,
    "as a switch": lambda f, b, m: torch.where(m > 0.5, f, b[:, None]),
    "which axis of the background is new": lambda f, b, m: m * f + (1 - m) * b[:1, None],
    "foreground must not be seen": lambda f, b, m: compose(f, b, m.clamp(min=0.01)),
    "must not shine through": lambda f, b, m: compose(f, b, m.clamp(max=0.99)),
    "the background in every frame": lambda f, b, m: compose(f, b, m.sqrt()),
    "gradient of `mask`": lambda f, b, m: compose(f, b, m.detach()),
    "gradient of `background`": lambda f, b, m: compose(f, b.detach(), m),
    "has no time axis: give it": lambda f, b, m: compose(f, b, m).mean(1),
    "write into their argument": compose_in_place,
}


# Both losses.


def losses(real, fake):
    return F.softplus(-real).mean() + F.softplus(fake).mean(), F.softplus(-fake).mean()


def losses_by_log_sigmoid(real, fake):
    discriminator = -F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean()
    return discriminator, -F.logsigmoid(fake).sum() / len(fake)


def losses_by_two_classes(real, fake):
    """VideoGAN's official form: two logits and a softmax."""
    r, f = (torch.stack([torch.zeros_like(x), x], 1) for x in (real, fake))
    ones, zeros = torch.ones(len(r)).long(), torch.zeros(len(f)).long()
    return F.cross_entropy(r, ones) + F.cross_entropy(f, zeros), F.cross_entropy(f, 1 - zeros)


def with_discriminator(loss):
    return lambda real, fake: (loss(real, fake), losses(real, fake)[1])


def with_generator(loss):
    return lambda real, fake: (losses(real, fake)[0], loss(real, fake))


def by_probabilities(log):
    def wrong(real, fake):
        p, q = real.sigmoid(), fake.sigmoid()
        return -log(p).mean() - log(1 - q).mean(), -log(q).mean()

    return wrong


def by_torch_from_probabilities(real, fake):
    p, q = real.sigmoid(), fake.sigmoid()
    ones = torch.ones_like
    discriminator = F.binary_cross_entropy(p, ones(p)) + F.binary_cross_entropy(q, 0 * q)
    return discriminator, F.binary_cross_entropy(q, ones(q))


def with_opposite_classes(real, fake):
    r, f = (torch.stack([-x, x], 1).log_softmax(1) for x in (real, fake))
    return -r[:, 1].mean() - f[:, 0].mean(), losses(real, fake)[1]


def with_batch_softmax(real, fake):
    discriminator = -real.log_softmax(0).mean() - (1 - fake.softmax(0)).log().mean()
    return discriminator, losses(real, fake)[1]


def losses_in_place(real, fake):
    answer = losses(real, fake)
    fake.neg_()
    return answer


LOSSES = {
    "the generator's loss first": lambda real, fake: losses(real, fake)[::-1],
    "the discriminator's loss second": lambda real, fake: losses(real, fake)[::-1],
    "Real and fake are swapped": with_discriminator(lambda real, fake: losses(fake, real)[0]),
    "mean of the real ones plus": with_discriminator(
        lambda real, fake: F.softplus(-real).sum() + F.softplus(fake).sum()
    ),
    "averaged the two halves": with_discriminator(lambda *logits: losses(*logits)[0] / 2),
    "one mean over all logits": with_discriminator(
        lambda real, fake: F.softplus(torch.cat([-real, fake])).mean()
    ),
    "fake half is missing": with_discriminator(lambda real, fake: F.softplus(-real).mean()),
    "real half is missing": with_discriminator(lambda real, fake: F.softplus(fake).mean()),
    "never negative": with_discriminator(lambda *logits: -losses(*logits)[0]),
    "sigmoid twice": lambda real, fake: losses(real.sigmoid(), fake.sigmoid()),
    "two classes x and -x": with_opposite_classes,
    "softmax over the batch": with_batch_softmax,
    "Wasserstein critic": with_discriminator(lambda real, fake: fake.mean() - real.mean()),
    "mean of -log sigmoid(real)": with_discriminator(lambda *logits: losses(*logits)[0] + 1),
    "it saturates": with_generator(lambda real, fake: -F.softplus(fake).mean()),
    "the discriminator's half": with_generator(lambda real, fake: F.softplus(fake).mean()),
    "the generator made the fake": with_generator(lambda real, fake: F.softplus(-real).mean()),
    "added the real half": with_generator(lambda real, fake: losses(fake, real)[0]),
    "take the mean.": with_generator(lambda real, fake: F.softplus(-fake).sum()),
    "Wasserstein generator": with_generator(lambda real, fake: -fake.mean()),
    "The mean of -log sigmoid(fake).": with_generator(lambda *logits: 2 * losses(*logits)[1]),
    "log(0) is -inf": by_probabilities(torch.log),
    "A small number added": by_probabilities(lambda p: (p + 1e-8).log()),
    "stops at 100": by_torch_from_probabilities,
    "one half to each answer": lambda real, fake: losses(real + 0.1, fake),
    "gradient of `fake`": lambda real, fake: losses(real, fake.detach()),
    "gradient of `real`": lambda real, fake: losses(real.detach(), fake),
    "two means": lambda real, fake: losses(real, fake)[0],
    "End with `return discriminator_loss": lambda *logits: [float(x) for x in losses(*logits)],
    "write into their argument": losses_in_place,
}


# The mask penalty.


def mask_penalty(mask):
    return mask.abs().mean()


def penalty_of_means(mask):
    return torch.stack([clip.sum() / clip.numel() for clip in mask]).mean()


PENALTIES = {
    "summed all values": lambda mask: mask.abs().sum(),
    "summed each clip": lambda mask: mask.flatten(1).sum(1).mean(),
    "summed each frame": lambda mask: mask.sum((2, 3, 4)).mean(),
    "squared the mask": lambda mask: (mask**2).mean(),
    "Euclidean length": lambda mask: mask.pow(2).sum().sqrt(),
    "root of the mean square": lambda mask: (mask**2).mean() ** 0.5,
    "penalised 1 - mask": lambda mask: (1 - mask).mean(),
    "sign is wrong": lambda mask: -mask.mean(),
    "above 0.5": lambda mask: (mask > 0.5).float().mean(),
    "Divide by the number of values": lambda mask: mask.sum(),
    "0 where it is nowhere seen": lambda mask: mask.mean() + 0.1,
    "One mean over all values": lambda mask: (mask * (1 - mask)).mean(),
    "gradient of `mask`": lambda mask: mask.detach().mean(),
    "frames and the pixels at once": lambda mask: mask.mean((1, 2, 3, 4)),
    "write into their argument": lambda mask: mask.mul_(2).mean() / 2,
}


# Flicker.


def changes(video):
    return (video[:, 1:] - video[:, :-1]) * 127.5


def neither(busy):
    return ~(busy[:, 1:] | busy[:, :-1])


def over(values, counted):
    """The mean of values over what is counted, clip by clip."""
    counted = counted.expand_as(values)
    return (values * counted).sum((1, 2, 3, 4)) / counted.sum((1, 2, 3, 4))


def flicker(video, busy):
    return over(changes(video).abs(), neither(busy))


def flicker_by_nan(video, busy):
    grey = (video + 1) / 2 * 255
    grey = grey.masked_fill(busy, float("nan"))  # any difference with a nan is one
    return grey.diff(dim=1).abs().flatten(1).nanmean(1)


def by_pairs(video, busy):
    pairs = [flicker(video[:, t : t + 2], busy[:, t : t + 2]) for t in range(video.shape[1] - 1)]
    return sum(pairs) / len(pairs)


def in_place(video, busy):
    busy[:, 1:] |= busy[:, :-1].clone()
    return over(changes(video).abs(), ~busy[:, 1:])


FLICKERS = {
    "up and down cancel": lambda v, b: over(changes(v), neither(b)),
    "up and down have cancelled": lambda v, b: over(changes(v), neither(b)).abs(),
    "squared the changes: ": lambda v, b: over((v[:, 1:] - v[:, :-1]) ** 2, neither(b)) * 127.5,
    "squared the changes, in grey": lambda v, b: over(changes(v) ** 2, neither(b)),
    "first frame's busy pixels": lambda v, b: over(changes(v).abs(), ~b[:, :-1]),
    "second frame's busy pixels": lambda v, b: over(changes(v).abs(), ~b[:, 1:]),
    "busy in both frames": lambda v, b: over(changes(v).abs(), ~(b[:, 1:] & b[:, :-1])),
    "measured the busy pixels": lambda v, b: over(changes(v).abs(), ~neither(b)),
    "measured all pixels": lambda v, b: changes(v).abs().mean((1, 2, 3, 4)),
    "number of all pixels": lambda v, b: (changes(v).abs() * neither(b)).mean((1, 2, 3, 4)),
    "blanked the busy pixels": lambda v, b: changes(v * ~b).abs().mean((1, 2, 3, 4)),
    "one of them is 127.5": lambda v, b: flicker(v, b) / 127.5,
    "multiplied by 255": lambda v, b: flicker(v, b) * 2,
    "each pair of frames": by_pairs,
    "added up the channels": lambda v, b: over(changes(v).abs().sum(2, keepdim=True), neither(b)),
    "busy in neither frame": lambda v, b: flicker(v, b) + 1,
    "must not cancel": lambda v, b: over(changes(v), neither(b)),
    "enters or leaves": lambda v, b: over(changes(v).abs(), ~b[:, 1:]),
    "not over the batch": lambda v, b: flicker(v, b).mean(),
    "write into their argument": in_place,
}


# Intersection over union.


def iou(predicted, truth):
    both = (predicted & truth).sum((1, 2, 3, 4))
    either = (predicted | truth).sum((1, 2, 3, 4))
    return torch.where(either == 0, 1.0, both / either)


def iou_by_sizes(predicted, truth):
    p, t = (mask.flatten(1).float() for mask in (predicted, truth))
    both = (p * t).sum(1)
    return (both + 1e-7) / (p.sum(1) + t.sum(1) - both + 1e-7)


def count(mask):
    return mask.flatten(1).sum(1)


IOUS = {
    "IoU of the frames": lambda p, t: (
        iou(p.flatten(0, 1)[:, None], t.flatten(0, 1)[:, None]).reshape(t.shape[:2]).mean(1)
    ),
    "That is Dice": lambda p, t: 2 * count(p & t) / (count(p) + count(t)),
    "share of right pixels": lambda p, t: 1 - (p ^ t).float().mean((1, 2, 3, 4)),
    "the recall": lambda p, t: count(p & t) / count(t),
    "the precision": lambda p, t: count(p & t) / count(p).clamp(min=1),
    "the union counts it once": lambda p, t: count(p & t) / (count(p) + count(t)),
    "number of all pixels": lambda p, t: (p & t).float().mean((1, 2, 3, 4)),
    "IoU of the background": lambda p, t: iou(~p, ~t),
    "IoU of the whole batch": lambda p, t: ((p & t).sum() / (p | t).sum()).expand(len(p)),
    "0 / 0 is nan": lambda p, t: count(p & t) / count(p | t),
    "You gave 0 where both are empty": lambda p, t: count(p & t) / count(p | t).clamp(min=1),
    "Equal masks": lambda p, t: iou(p, t) ** 2 / 2,
    "Count the pixels in both": lambda p, t: iou(p, t).sqrt(),
    "not over the batch": lambda p, t: iou(p, t).mean(),
    "write into their argument": lambda p, t: iou(p.logical_and_(t), t),
}


# Mode coverage.


def near(samples, modes, radius):
    return (samples[:, None] - modes[None]).norm(dim=2) <= radius  # (N, K)


def mode_coverage(samples, modes, radius, minimum):
    close = near(samples, modes, radius)
    return (close.sum(0) >= minimum).sum(), close.any(1).float().mean()


def coverage_by_nearest(samples, modes, radius, minimum):
    """Right, since no sample lies near two modes: the nearest mode, if it is near enough."""
    squares = (samples[:, None] - modes[None]).square().sum(2)
    least, nearest = squares.min(1)
    nearest = nearest[least <= radius**2]
    covered = torch.bincount(nearest, minlength=len(modes)) >= minimum
    return int(covered.sum()), len(nearest) / len(samples)


def with_near(rule):
    """`mode_coverage` with another rule of what is near."""

    def wrong(samples, modes, radius, minimum):
        distances = (samples[:, None] - modes[None]).norm(dim=2)
        close = rule(distances, radius)
        return (close.sum(0) >= minimum).sum(), close.any(1).float().mean()

    return wrong


def with_count(rule):
    """`mode_coverage` with another count, from the number of samples near each mode."""

    def wrong(samples, modes, radius, minimum):
        counts = near(samples, modes, radius).sum(0)
        return rule(counts, minimum), mode_coverage(samples, modes, radius, minimum)[1]

    return wrong


def with_share(rule):
    def wrong(samples, modes, radius, minimum):
        close = near(samples, modes, radius)
        covered = close.sum(0) >= minimum
        return covered.sum(), rule(close.float(), covered)

    return wrong


def is_nearest(distances, radius):
    return F.one_hot(distances.argmin(1), distances.shape[1]).bool()


def coverage_in_place(samples, modes, radius, minimum):
    answer = mode_coverage(samples, modes, radius, minimum)
    samples -= modes[0]
    return answer


COVERAGES = {
    "nearest mode, however far": with_near(is_nearest),
    "squared distance with the radius": with_near(lambda d, r: d**2 <= r),
    "distance with the squared radius": with_near(lambda d, r: d <= r**2),
    "Within the radius means": with_near(lambda d, r: d < r),
    "a nearest mode": with_near(is_nearest),
    "One sample was enough": with_count(lambda counts, minimum: (counts > 0).sum()),
    "more than `minimum`": with_count(lambda counts, minimum: (counts > minimum).sum()),
    "modes that are missed": with_count(lambda counts, minimum: (counts < minimum).sum()),
    "gave the share of the modes": with_count(
        lambda counts, minimum: (counts >= minimum).float().mean()
    ),
    "count the modes.": with_count(lambda counts, minimum: counts.sum()),
    "have at least `minimum`": with_count(lambda counts, minimum: 3),
    "One mode has all": with_count(lambda counts, minimum: (counts[:-1] >= minimum).sum() + 2),
    "not covered": with_share(lambda close, covered: (close * covered).sum(1).mean()),
    "divide by N, all samples": with_share(
        lambda close, covered: (close * covered).sum() / close.sum()
    ),
    "divided by the number of modes": with_share(
        lambda close, covered: close.sum() / close.shape[1]
    ),
    "number of covered modes": with_share(lambda close, covered: close.sum() / covered.sum()),
    "You counted the samples": with_share(lambda close, covered: int(close.sum())),
    "share of stray samples": with_share(lambda close, covered: 1 - close.sum(1).mean()),
    "share of modes that": with_share(lambda close, covered: covered.float().mean()),
    "within `radius` of any": with_share(lambda close, covered: close.sum(1).mean() ** 2),
    "each other's place": lambda *inputs: mode_coverage(*inputs)[::-1],
    "two single numbers": lambda *inputs: (near(*inputs[:3]).sum(0), 1.0),
    "End with `return num_covered": lambda *inputs: mode_coverage(*inputs)[0],
    "write into their argument": coverage_in_place,
}


class TestTheCheckers(CheckedChapter):
    right: ClassVar = [
        (check.compose, compose),
        (check.compose, compose_clip_by_clip),
        (check.losses, losses),
        (check.losses, losses_by_log_sigmoid),
        (check.losses, losses_by_two_classes),
        (check.mask_penalty, mask_penalty),
        (check.mask_penalty, penalty_of_means),
        (check.flicker, flicker),
        (check.flicker, flicker_by_nan),
        (check.iou, iou),
        (check.iou, iou_by_sizes),
        (check.mode_coverage, mode_coverage),
        (check.mode_coverage, coverage_by_nearest),
    ]
    wrong: ClassVar = {
        check.compose: COMPOSITIONS,
        check.losses: LOSSES,
        check.mask_penalty: PENALTIES,
        check.flicker: FLICKERS,
        check.iou: IOUS,
        check.mode_coverage: COVERAGES,
    }
