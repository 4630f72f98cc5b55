"""The exam of Moving MNIST ten after ten: does each number mean what it says?"""

import pytest
import torch
from torch.nn.functional import interpolate

from course_lib.data.digits import load_digits
from course_lib.recipes import vptr_exam
from course_lib.recipes.vptr_exam import CONTEXT, LONG, make_exam


@pytest.fixture(scope="module")
def exam():
    return make_exam(num_clips=40)


def of_square(*corners, size=16):
    """A clip of a bright square of 4 pixels that stands at these corners in turn."""
    clip = torch.full((1, len(corners), 1, size, size), -1.0)
    for frame, (x, y) in enumerate(corners):
        clip[0, frame, 0, y : y + 4, x : x + 4] = 1
    return clip


def test_a_longer_exam_begins_as_the_shorter_one(exam):
    longer = make_exam(horizon=LONG, num_clips=40)
    assert torch.equal(longer.context, exam.context)
    assert torch.equal(longer.future[:, :10], exam.future)


def test_the_digits_of_the_exam_were_never_trained_on():
    trained = {bytes(image.numpy()) for image in load_digits("train").images}
    held_out = vptr_exam.world("test").digits.images
    assert not any(bytes(image.numpy()) in trained for image in held_out)


def test_the_corner_is_where_the_digit_is(exam):
    inside = vptr_exam.crops(exam.future, exam.corner)
    assert torch.allclose((inside + 1).sum((2, 3, 4)), (exam.future + 1).sum((2, 3, 4)), atol=1e-3)
    beside = vptr_exam.crops(exam.future, (exam.corner + 9).clamp(max=18))
    assert (beside + 1).sum() < 0.8 * (inside + 1).sum()


def test_a_perfect_prediction_has_no_error_and_is_read_nearly_always(exam):
    found = vptr_exam.examine(exam.future, exam)
    assert found["mse"].value == found["over_mean_image"].value == 0
    assert found["unsteady"].value == pytest.approx(0, abs=1e-6)
    assert all(found[f"read_step_{step:02d}"].value > 0.85 for step in range(1, 11))


def test_the_mean_image_beats_the_black_frame_and_that_the_last_one(exam):
    errors = {
        name: vptr_exam.examine(drawn, exam)["over_mean_image"].value
        for name, drawn in exam.opponents().items()
    }
    assert errors["mean_image"] == 1 < errors["black"] < errors["copy_last"]


def test_an_error_counts_pixels_from_0_to_1(exam):
    shifted = exam.future.clamp(-1, 0) + 1  # by 1 of 2, clipped nowhere
    expected = ((shifted - exam.future) / 2).square().mean((2, 3, 4)).double()
    assert torch.allclose(vptr_exam.errors(shifted, exam), expected, atol=1e-6)


def test_values_beyond_the_range_are_clipped_before_they_are_judged(exam):
    assert (
        vptr_exam.errors(exam.future * 3, exam).max()
        <= vptr_exam.errors(exam.future.sign(), exam).max()
    )
    assert (
        vptr_exam.errors(10 * exam.future.sign(), exam)
        == vptr_exam.errors(exam.future.sign(), exam)
    ).all()


def test_a_shape_that_moves_by_whole_pixels_is_steady():
    assert vptr_exam.unsteadiness(of_square((2, 2), (4, 3), (6, 7), (6, 7))).max() == 0


def test_a_shape_that_halves_is_unsteady_by_half_its_ink():
    clip = of_square((4, 4), (5, 5))
    clip[0, 1, 0, 5:7] = -1
    assert vptr_exam.unsteadiness(clip).item() == pytest.approx(0.5)


def test_a_jump_beyond_the_reach_counts_as_another_shape():
    assert vptr_exam.unsteadiness(of_square((1, 1), (11, 11))).item() > 0.99


def test_a_digit_drawn_elsewhere_is_not_read(exam):
    rolled = exam.future.roll((16, 16), (-2, -1))
    read = vptr_exam.is_read(rolled, exam).double().mean()
    assert read < 0.4 < vptr_exam.is_read(exam.future, exam).double().mean()


def test_what_the_classifier_reads_is_the_enlarged_crop(exam, monkeypatch):
    given = []

    class Reader:
        def load(self):
            return self

        def __call__(self, images):
            given.append(images)
            return torch.eye(10)[exam.label.repeat_interleave(10)]

    monkeypatch.setattr(vptr_exam, "CLASSIFIER", Reader())
    assert vptr_exam.is_read(exam.future, exam).all()
    crops = vptr_exam.crops(exam.future, exam.corner).flatten(0, 1)
    assert torch.equal(given[0], interpolate(crops, size=28, mode="bilinear"))


def test_a_clip_of_the_exam_goes_on_where_its_context_ends(exam):
    assert exam.context.shape[1] == CONTEXT
    step = (exam.future[:, 0] - exam.context[:, -1]).square().mean()
    jump = (exam.future[:, -1] - exam.context[:, -1]).square().mean()
    assert step < jump


def test_every_step_is_judged_by_itself(exam):
    prediction = exam.opponents()["mean_image"].clone()
    prediction[:, 0] = exam.future[:, 0]
    found = vptr_exam.examine(prediction, exam)
    assert found["mse_step_01"].value == found["over_mean_image_step_01"].value == 0
    assert found["over_mean_image_step_10"].value == pytest.approx(1)
    assert found["read_step_01"].value > 0.85 > 0.5 > found["read_step_10"].value


def test_the_mean_image_is_of_digits_that_are_trained_on(exam):
    generator = torch.Generator().manual_seed(vptr_exam.EXAM_SEED)
    clips = vptr_exam.world("train").sample(400, generator=generator).video
    assert torch.allclose(exam.mean_image, clips.flatten(0, 1).mean(0), atol=1e-6)
