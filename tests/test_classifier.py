"""The reader of digits: its network, the redrawing it is trained with, and what ships."""

import math

import pytest
import torch

from course_lib.data.video import to_float
from course_lib.models.classifier import DigitClassifier, DigitClassifierConfig
from course_lib.recipes import classifier as recipe

TINY = DigitClassifierConfig(dims=(2, 3, 4), num_features=5)


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_images(batch=3, seed=0):
    return torch.rand(batch, 1, 28, 28, generator=make_generator(seed)) * 2 - 1


def tiny_model():
    generator, model = make_generator(), DigitClassifier(TINY)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return model


def test_the_logits_are_a_linear_map_of_the_features():
    model, images = tiny_model(), make_images()
    features = model.features(images)
    assert features.shape == (3, 5)
    assert (features >= 0).all()
    expected = features @ model.to_logits.weight.T + model.to_logits.bias
    torch.testing.assert_close(model(images), expected)


def test_every_part_of_a_picture_counts_and_no_other_picture_does():
    model = tiny_model()
    images = make_images().requires_grad_()
    model(images)[1].square().sum().backward()
    influence = images.grad.abs()
    assert (influence[[0, 2]] == 0).all()
    # The last four rows and columns lie outside the pooled squares of eight: MNIST leaves them
    # empty on all sides, so the network may.
    blocks = influence[1, 0, :24, :24].reshape(3, 8, 3, 8).amax((1, 3))
    assert (blocks > 0).all()


@pytest.mark.parametrize("shape", [(2, 1, 28, 27), (2, 3, 28, 28), (2, 1, 32, 32)])
def test_pictures_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match=r"permitted: \(B, 1, 28, 28\)"):
        tiny_model()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dims": (4, 0, 4)}, r"dims is \(4, 0, 4\); permitted: three positive"),
        ({"num_features": 0}, "num_features is 0; permitted: 1 and more"),
    ],
)
def test_an_impossible_config_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        DigitClassifierConfig(**change)


def dot(row=14, column=14):
    image = torch.full((1, 28, 28), -1.0)
    image[:, row - 1 : row + 1, column - 1 : column + 1] = 1
    return image


def centres(images):
    """(row, column) of each picture's ink, in pixels from its upper left corner."""
    ink = (images[:, 0] + 1).double()
    place = torch.arange(28).double() + 0.5
    total = ink.sum((1, 2))
    return torch.stack(
        [(ink.sum(2) * place).sum(1) / total, (ink.sum(1) * place).sum(1) / total], dim=1
    )


def test_redrawing_stays_in_range_and_leaves_paper_paper():
    redrawn = recipe.augment(make_images(64), generator=make_generator())
    assert redrawn.min() >= -1
    assert redrawn.max() <= 1
    blank = torch.full((16, 1, 28, 28), -1.0)
    assert torch.equal(recipe.augment(blank, generator=make_generator()), blank)


def test_redrawing_moves_a_dot_by_up_to_four_pixels_on_every_side():
    away = centres(recipe.augment(dot().expand(2000, 1, 28, 28), generator=make_generator())) - 14
    reach = 4 * recipe.SCALES[1] * (1 + recipe.MAX_SHEAR)  # the shift is scaled and sheared too
    assert away.abs().max() < reach * math.sqrt(2)
    assert (away.amin(0) < -3.5).all()
    assert (away.amax(0) > 3.5).all()
    assert away.mean(0).abs().max() < 4 * away.std(0).max() / math.sqrt(2000)


def test_redrawing_makes_strokes_thinner_and_thicker():
    bar = torch.full((2000, 1, 28, 28), -1.0)
    bar[..., 6:22, 12:16] = 1
    ink = (recipe.augment(bar, generator=make_generator()) + 1).sum((1, 2, 3)) / 2
    assert ink.min() < 0.4 * 64
    assert ink.max() > 1.8 * 64


def test_redrawing_follows_its_generator_alone():
    images, before = make_images(4), torch.get_rng_state()
    first, again, other = (recipe.augment(images, generator=make_generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_holds_train_digits_with_their_labels():
    batch = recipe.draw(recipe.SMALL, make_generator())
    assert batch["images"].shape == (recipe.SMALL.batch_size, 1, 28, 28)
    assert batch["labels"].unique().tolist() == list(range(10))
    read = recipe.CLASSIFIER.load()(batch["images"]).argmax(1)
    assert (read == batch["labels"]).float().mean() > 0.9


def test_the_shipped_reader_is_small_and_as_good_as_its_results_say():
    model = recipe.CLASSIFIER.load()
    assert recipe.CLASSIFIER.path.stat().st_size < 512 * 1024
    measured = recipe.evaluate(model, recipe.SMALL)
    assert measured["accuracy"].value > 0.995
    assert measured["accuracy_redrawn"].value > 0.97


def test_the_shipped_reader_reads_thick_and_thin_lines_of_a_mouse():
    model = recipe.CLASSIFIER.load()
    one = torch.zeros(2, 28, 28, dtype=torch.uint8)
    one[0, 4:24, 13:15] = 255
    one[1, 4:24, 12:16] = 255
    seven = torch.zeros(2, 28, 28, dtype=torch.uint8)
    for picture, width in zip(seven, (2, 3), strict=True):
        picture[5 : 5 + width, 7:21] = 255
        for row in range(5, 24):
            column = 20 - (row - 5) // 2
            picture[row, column - width : column + 1] = 255
    read = model(to_float(torch.cat([one, seven]))[:, None]).argmax(1)
    assert read.tolist() == [1, 1, 7, 7]
