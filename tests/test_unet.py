"""DDPM's U-Net against the paper's size and another library's, and what each part is good for."""

from dataclasses import replace

import pytest
import torch

from course_lib.models.unet import PUBLISHED_CIFAR10, UNet, UNetConfig, code_of_time

TINY = UNetConfig(
    size=8, dim=8, multipliers=(1, 2), num_blocks=1, attention_sizes=(4,), num_groups=4, dropout=0.0
)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make(config=TINY):
    """Weights drawn anew, so that nothing is zero."""
    model = UNet(config).eval()
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            spread = weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.3
            weight.copy_(spread * draw(*weight.shape, seed=number) + (weight.ndim == 1))
    return model


def times(*steps):
    return torch.tensor(steps)


def test_the_paper_s_network_has_the_paper_s_size():
    with torch.device("meta"):
        model = UNet(PUBLISHED_CIFAR10)
        answer = model(torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.long))
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(35.75e6, abs=5e3)
    assert answer.shape == (2, 3, 32, 32)


def test_the_paper_s_maps_have_its_sizes_and_look_around_at_16():
    with torch.device("meta"):
        model = UNet(PUBLISHED_CIFAR10)
        sizes = {"down": [], "up": []}
        for way, rows in sizes.items():
            for stage in getattr(model, way):
                stage.register_forward_hook(
                    lambda stage, _, made, rows=rows: rows.append(
                        (*made.shape[1:3], type(stage[1]).__name__ if len(stage) > 1 else "")
                    )
                )
        model(torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.long))
    looks = [(256, 16, "Attention")]
    coarse = [(256, 8, ""), (256, 8, ""), (256, 4, ""), (256, 4, ""), (256, 4, "")]
    fine = [(128, 32, ""), (128, 32, ""), (128, 16, "")]
    assert sizes["down"] == [*fine, *looks * 2, (256, 8, ""), *coarse]
    up = [(256, 4, ""), (256, 4, ""), (256, 8, "Upsample"), (256, 8, ""), (256, 8, "")]
    up += [(256, 16, "Upsample"), *looks * 2, (256, 32, "Attention")]
    assert sizes["up"] == [*up, *[(128, 32, "")] * 3]


def test_before_training_the_answer_is_zero_and_every_block_is_its_shortcut():
    model = UNet(replace(TINY, in_channels=2, out_channels=3)).eval()
    x, t = draw(2, 2, 8, 8), times(3, 700)
    assert torch.equal(model(x, t), torch.zeros(2, 3, 8, 8))
    h, time = draw(2, 16, 4, 4), model.embed_time(t)
    assert torch.equal(model.middle(h, time), h)


def test_the_code_of_time_is_sines_then_cosines_down_to_a_ten_thousandth():
    code = code_of_time(times(0, 7), 6)
    angles = 7 * torch.tensor([1.0, 0.01, 0.0001])
    torch.testing.assert_close(code[1], torch.cat([angles.sin(), angles.cos()]))
    assert code[0].tolist() == [0, 0, 0, 1, 1, 1]


def test_each_picture_sees_its_own_time_and_no_other_picture():
    model, x = make(), draw(2, 1, 8, 8)
    before, after = model(x, times(10, 20)), model(x, times(10, 900))
    assert torch.equal(before[0], after[0])
    assert (before[1] - after[1]).abs().max() > 1e-3
    other = model(torch.stack([x[0], -x[1]]), times(10, 20))
    torch.testing.assert_close(other[0], before[0])


def test_every_block_is_told_the_time():
    model, x = make(), draw(1, 1, 8, 8)
    blocks = [module for module in model.modules() if type(module).__name__ == "ResBlock"]
    assert len(blocks) == 2 * 1 + 2 + 2 * 2
    h = {}
    for block in blocks:
        h.clear()
        hook = block.register_forward_hook(lambda _, given, made: h.update(given=given, made=made))
        model(x, times(5))
        hook.remove()
        features, time = h["given"]
        assert not torch.equal(block(features, -time), h["made"])


def test_every_map_of_the_way_down_is_a_skip_and_is_used():
    model, x, t = make(replace(TINY, num_blocks=2)), draw(1, 1, 8, 8), times(5)
    kept, seen = [], []
    model.conv_in.register_forward_hook(lambda _, __, made: kept.append(made))
    for stage in model.down:
        stage.register_forward_hook(lambda _, __, made: kept.append(made))
    for stage in model.up:
        stage.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    answer = model(x, t)
    assert len(kept) == len(seen) == 2 * 2 + 1 + 1
    passed = list(zip(reversed(kept), model.up, seen, strict=True))
    for skip, stage, whole in passed:
        assert torch.equal(whole[:, -skip.shape[1] :], skip)

        def forget(_, given, dim=skip.shape[1]):
            return torch.cat([given[0][:, :-dim], 0 * given[0][:, -dim:]], 1), given[1]

        hook = stage.register_forward_pre_hook(forget)
        assert (model(x, t) - answer).abs().max() > 1e-3
        hook.remove()


PARTS = {
    "conv_in": "conv_in",
    "time_embedding.linear_1": "embed_time.mlp.0",
    "time_embedding.linear_2": "embed_time.mlp.2",
    "down_blocks.0.resnets.0": "down.0.0",
    "down_blocks.0.resnets.1": "down.1.0",
    "down_blocks.0.downsamplers.0": "down.2.0",
    "down_blocks.1.resnets.0": "down.3.0",
    "down_blocks.1.attentions.0": "down.3.1",
    "down_blocks.1.resnets.1": "down.4.0",
    "down_blocks.1.attentions.1": "down.4.1",
    "mid_block.resnets.0": "middle.0",
    "mid_block.attentions.0": "middle.1",
    "mid_block.resnets.1": "middle.2",
    "up_blocks.0.resnets.0": "up.0.0",
    "up_blocks.0.attentions.0": "up.0.1",
    "up_blocks.0.resnets.1": "up.1.0",
    "up_blocks.0.attentions.1": "up.1.1",
    "up_blocks.0.resnets.2": "up.2.0",
    "up_blocks.0.attentions.2": "up.2.1",
    "up_blocks.0.upsamplers.0": "up.2.2",
    "up_blocks.1.resnets.0": "up.3.0",
    "up_blocks.1.resnets.1": "up.4.0",
    "up_blocks.1.resnets.2": "up.5.0",
    "conv_norm_out": "norm_out",
    "conv_out": "conv_out",
}
LAYERS = {
    "time_emb_proj": "time",
    "conv_shortcut": "shortcut",
    "group_norm": "norm",
    "to_q": "queries",
    "to_k": "keys",
    "to_v": "values",
    "to_out.0": "out",
}


@pytest.mark.parity
def test_it_answers_like_diffusers_with_the_same_weights():
    from diffusers.models.unets.unet_2d import UNet2DModel

    theirs = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        freq_shift=1,  # DDPM's exponents; as sines first
        flip_sin_to_cos=False,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=2,
        downsample_padding=0,
        norm_num_groups=4,
        norm_eps=1e-6,
        attention_head_dim=None,
    ).eval()
    ours = make(replace(TINY, num_blocks=2))
    weights = ours.state_dict()
    translated = {}
    for name in theirs.state_dict():
        part = next(part for part in PARTS if name.startswith(f"{part}."))
        layer, _, kind = name.removeprefix(f"{part}.").rpartition(".")
        translated[name] = weights[
            ".".join(filter(None, (PARTS[part], LAYERS.get(layer, layer), kind)))
        ]
    assert len(translated) == len(weights)
    theirs.load_state_dict(translated)
    x, t = draw(3, 1, 8, 8), times(0, 20, 999)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, t), theirs(x, t).sample, atol=2e-5, rtol=1e-4)


def test_dropout_is_at_work_in_training_only():
    model, x, t = make(replace(TINY, dropout=0.5)), draw(1, 1, 8, 8), times(5)
    assert torch.equal(model(x, t), model(x, t))
    model.train()
    assert not torch.equal(model(x, t), model(x, t))


def test_it_overfits_one_tiny_batch():
    torch.manual_seed(0)
    model, x, t, answer = UNet(TINY), draw(4, 1, 8, 8), times(0, 300, 600, 900), draw(4, 1, 8, 8)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        (model(x, t) - answer).square().mean().backward()
        optimizer.step()
    assert (model(x, t) - answer).square().mean() < 0.05


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"multipliers": ()}, r"multipliers are \(\)"),
        ({"multipliers": (1, 0)}, r"multipliers are \(1, 0\)"),
        ({"size": 9}, "for a size of 9"),
        ({"dim": 6}, "dim is 6 with 4 groups"),
        ({"dim": 2, "num_groups": 2}, "dim is 2"),
        ({"attention_sizes": (16,)}, r"permitted: some of \(8, 4\)"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"num_blocks": 0}, "num_blocks is 0"),
        ({"in_channels": 0}, "in_channels is 0"),
    ],
)
def test_impossible_sizes_are_refused(changes, named):
    with pytest.raises(ValueError, match=named):
        replace(TINY, **changes)


def test_other_pictures_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 16, 16\); permitted: \(1, 8, 8\)"):
        make()(draw(1, 1, 16, 16), times(0))


def test_the_small_default_is_possible():
    assert UNet(UNetConfig())(draw(1, 1, 32, 32), times(1)).shape == (1, 1, 32, 32)
