"""Plant one fault after another in a copy of the tree and see whether its tests notice.

    python tests/planted_faults.py            # every fault
    python tests/planted_faults.py futures    # those whose file name holds "futures"

Not part of the default run: every fault costs a start of pytest. A fault is one row: the file, the
original text (found exactly once), the faulty text. To add faults, add rows under the test files
that should catch them.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "runs", "editions", "my_course", "__pycache__", ".*_cache", ".wheels"
)

CROSSROADS = "course_lib/data/crossroads.py"
EXACT = "course_lib/data/futures.py"
JUDGE = "course_lib/evaluation/futures.py"
FRAMES = "course_lib/evaluation/frames.py"
DISTRIBUTIONS = "course_lib/evaluation/distributions.py"
TOY = "course_lib/data/toy.py"
TOY_DIFFUSION = "course_lib/recipes/toy_diffusion.py"
ONE_SHOT = "course_lib/recipes/one_shot.py"
LIKELIHOOD = "course_lib/methods/likelihood.py"
NOISE = "course_lib/methods/noise.py"
DIFFUSION = "course_lib/methods/diffusion.py"
DDIM = "course_lib/methods/ddim.py"
ETA_SHEETS = "course_lib/recipes/eta_sheets.py"
ETA_INVERSION = "course_lib/recipes/eta_inversion.py"
ETA_LAB = "course_lib/widgets/eta_lab.py"
GUIDANCE = "course_lib/methods/guidance.py"
PREDICTOR = "course_lib/methods/predictor.py"
PEDESTRIANS = "course_lib/data/pedestrians.py"
AVERAGE = "course_lib/training/ema.py"
LOOP = "course_lib/training/loop.py"
CHECKPOINT = "course_lib/training/checkpoint.py"
RUN = "course_lib/training/run.py"
PUBLISH = "course_lib/training/publish.py"
RECIPE = "course_lib/training/recipe.py"
TRAIN = "course_lib/cli/train.py"
CONVLSTM = "course_lib/models/convlstm.py"
DCGAN = "course_lib/models/dcgan.py"
SVG = "course_lib/models/svg.py"
MOVING = "course_lib/data/moving_mnist.py"
GAUSSIAN = "course_lib/nn/gaussian.py"
VAE = "course_lib/methods/vae.py"
GAN = "course_lib/methods/gan.py"
ADVERSARY = "course_lib/recipes/adversary.py"
SCENE_EXAM = "course_lib/recipes/scenes.py"
VIDEOGAN_RECIPE = "course_lib/recipes/videogan.py"
VIDEOGAN_EXAM = "course_lib/recipes/videogan_exam.py"
VIDEOGAN_SWEEP = "course_lib/recipes/videogan_sweep.py"
VIDEOGAN_ROLES = "course_lib/recipes/videogan_roles.py"
VIDEOGAN_STREET = "course_lib/recipes/videogan_street.py"
VIDEOGAN_CROSSING = "course_lib/recipes/videogan_crossroads.py"
READER = "course_lib/models/classifier.py"
DIGIT_VAE = "course_lib/models/digit_vae.py"
DIGIT_PLANE = "course_lib/recipes/digit_vae.py"
CHAPTER0 = "course_lib/recipes/chapter0.py"
REDRAWING = "course_lib/recipes/classifier.py"
SCENES = "course_lib/data/scenes.py"
MASKS = "course_lib/evaluation/masks.py"
READERS = "course_lib/models/clip_readers.py"
VIDEOGAN = "course_lib/models/videogan.py"
CONDITIONAL = "course_lib/models/videogan_conditional.py"
DETECTOR = "course_lib/models/detector.py"
CROSSING = "course_lib/recipes/svg.py"
EXAM = "course_lib/recipes/svg_exam.py"
ATTENTION = "course_lib/nn/attention.py"
AUTOENCODER = "course_lib/models/autoencoder.py"
RECONSTRUCTION = "course_lib/methods/reconstruction.py"
BLOCKS = "course_lib/models/vidhrformer.py"
FAR = "course_lib/models/vptr.py"
NAR_PAR = "course_lib/models/vptr_decoders.py"
VPTR_VIDEO = "course_lib/models/vptr_video.py"
INFLUENCE = "course_lib/evaluation/influence.py"
ATTENTION_COST = "course_lib/evaluation/attention_cost.py"
COST = "course_lib/evaluation/cost.py"
VPTR_EXAM = "course_lib/recipes/vptr_exam.py"
LEVELS = "course_lib/recipes/crossroads_levels.py"

CROSSROADS_ETA = "course_lib/recipes/crossroads_eta.py"
CURVE = "course_lib/widgets/curve.py"
CURVE_PLANE = "course_lib/widgets/curve_plane.py"
DIT = "course_lib/models/dit.py"
UNET = "course_lib/models/unet.py"
DIT_VARIANTS = "course_lib/models/dit_variants.py"
LATENT_DIT = "course_lib/models/latent_dit.py"
AUTOENCODER_KL = "course_lib/models/autoencoder_kl.py"
LATENT = "course_lib/methods/latent.py"
LATENT_RECIPE = "course_lib/recipes/latent_dit.py"
CONDITIONING_RECIPE = "course_lib/recipes/dit_conditioning.py"
SCALING = "course_lib/evaluation/scaling.py"
BLOCK_PARTS = "course_lib/evaluation/block_parts.py"
PATCHES = "course_lib/evaluation/patches.py"
CODEBOOK = "course_lib/methods/codebook.py"
VIT = "course_lib/models/vit.py"
SCOREBOARD = "course_lib/recipes/scoreboard.py"
CONTESTANTS = "course_lib/recipes/contestants.py"
CANVASES = "course_lib/recipes/canvases.py"
TOY_GUIDANCE = "course_lib/recipes/toy_guidance.py"
DIT_PAIRS = "course_lib/recipes/dit_pairs.py"
DIT_START = "course_lib/recipes/dit_start.py"
COMPRESSION = "course_lib/recipes/compression.py"
CROSSROADS_DIFFUSION = "course_lib/recipes/crossroads_diffusion.py"
MEMBER = "course_lib/training/member.py"
DIT_SCALING = "course_lib/recipes/dit_scaling.py"

MASK_LAB = "course_lib/widgets/mask_lab"  # and the rest of the file's name

PROPERTIES = "course_lib/checks/properties.py"
CHECKS = "course_lib/checks/chapter1"  # and the rest of the file's name
CHECKS2 = "course_lib/checks/chapter2"
CHECKS3 = "course_lib/checks/chapter3"
CHECKS4 = "course_lib/checks/chapter4"
CHECKS5 = "course_lib/checks/chapter5"
CHECKS6 = "course_lib/checks/chapter6"
CHECKS7 = "course_lib/checks/chapter7"
TWO_SUMS = "_cost(real, 1).sum() + _cost(fake, 0).sum()\n\n\ndef"
NO_GRADIENTS = "passes_gradients(_losses, large, LOGITS, ())"

KEEPS_EPS = "return Denoised(x0_hat, self.eps_hat)\n\n\nD"
HAT_IN_DIRECTION = """        if larger_noise:
            sigma = sigma_hat(alpha_bar, before) if t_prev >= 0 else torch.zeros_like(sigma)
        x_prev = ddim_step(found.x0_hat"""
FED_TO_POSTERIOR = "posterior, h, skips = self._infer(video if fed is None else fed, context)"
CODES_FROM_1 = "code = self.time_code[: features.shape[1]]"

# test files: rows of (file, original text, faulty text)
FAULTS = {
    "tests/test_scaling.py": [
        (SCALING, "1.96 / math.sqrt(len(x) - 3)", "1.96 / math.sqrt(len(x))"),
        (
            SCALING,
            "[[*row[:k], *row[k + 1 :]] for row in (y, *predictors)]",
            "[[*row] for row in (y, *predictors)]",
        ),
        (
            SCALING,
            "1 - float(left @ left) / float(around @ around)",
            "1 - float(left @ left) / float(target @ target)",
        ),
    ],
    "tests/test_block_parts.py": [
        (
            BLOCK_PARTS,
            "of_pairs, of_none = (one - 2 * two + three) // 2, 3 * one - 3 * two + three",
            "of_pairs, of_none = one - 2 * two + three, 3 * one - 3 * two + three",
        ),
        (
            BLOCK_PARTS,
            "count(num_tokens, dim, mlp_ratio + 1) - total",
            "count(num_tokens, dim, mlp_ratio + 1)",
        ),
    ],
    "tests/test_patch_sizes.py": [
        (PATCHES, "a + (config.depth - 1) * (b - a)", "a + config.depth * (b - a)"),
        (PATCHES, '("modulation" in name or "embed_time" in name)', '"modulation" in name'),
    ],
    "tests/test_codebook.py": [
        (
            CODEBOOK,
            "(lengths - 2 * part @ codes.T).argmin(1)",
            "(lengths - part @ codes.T).argmin(1)",
        ),
        (
            CODEBOOK,
            "torch.where(members > 0, sums / members.clamp(min=1), codes)",
            "sums / members.clamp(min=1)",
        ),
        (CODEBOOK, "eigenvectors.flip(1)", "eigenvectors"),
        (CODEBOOK, "spread = (vectors - mean).double()", "spread = vectors.double()"),
    ],
    "tests/test_vit.py": [
        (VIT, "[:, 0])", "[:, 1])"),
        (VIT, "return self.norm(tokens)", "return tokens"),
        (
            VIT,
            "torch.cat([first, patches], 1) + self.positions",
            "torch.cat([first, patches + self.positions[1:]], 1)",
        ),
    ],
    "tests/test_scoreboard.py": [
        (
            SCOREBOARD,
            "judge.excess(clips.mean(0), futures) * least",
            "judge.excess(clips[0], futures) * least",
        ),
        (SCOREBOARD, '"excess": 1 / protocol.num_samples', '"excess": 0.0'),
        (SCOREBOARD, "cost.seconds(all_, repeats=1) / many", "cost.seconds(all_, repeats=1)"),
        (CONTESTANTS, "asked = number if self.draws else 1", "asked = 1"),
    ],
    "tests/test_canvases.py": [
        (
            CANVASES,
            "latents.context * encoder + latents.horizon * decoder",
            "latents.context * encoder + latents.context * decoder",
        ),
        (CANVASES, "(1 + BACKWARD) * config.steps", "config.steps"),
        (
            CANVASES,
            "edge = size // CROSSROADS_LATENTS.small.model.factor\n    return",
            "edge = 8\n    return",
        ),
    ],
    "tests/test_toy_guidance.py": [
        (
            TOY_GUIDANCE,
            "_MEANS if label == NO_CLASS else _MEANS[label : label + 1]",
            "_MEANS[:1] if label == NO_CLASS else _MEANS[label : label + 1]",
        ),
        (TOY_GUIDANCE, "(points - signal * x0_hat) / rest", "(points - x0_hat) / rest"),
    ],
    "tests/test_dit_pairs.py": [
        (DIT_PAIRS, "return untold - told", "return told - untold"),
        (
            DIT_PAIRS,
            "half = less.mean().item(), STUDENT * less.std().item() / SEEDS**0.5",
            "half = less.mean().item(), 1.96 * less.std().item() / SEEDS**0.5",
        ),
        (DIT_PAIRS, "before = given[0][:, :tokens]", "before = given[0][:, -tokens:]"),
        (DIT_PAIRS, "less[quarter == k]", "less[quarter != k]"),
    ],
    "tests/test_dit_start.py": [
        (
            DIT_START,
            '{"gates": torch.cat([gate1, gate2]), "shift, scale": others}',
            '{"gates": others, "shift, scale": others}',
        ),
        (DIT_START, "        optimizer.step()\n", ""),
    ],
    "tests/test_compression.py": [
        (COMPRESSION, "return 3 * factor**2 / channels", "return factor**2 / channels"),
        (COMPRESSION, "torch.cat([photos[..., :1], photos[..., :-1]], -1)", "photos.roll(1, -1)"),
        (COMPRESSION, "(sums[0] / sums[1])[:BANDS]", "(sums[1] / sums[0])[:BANDS]"),
    ],
    "tests/test_crossroads_diffusion.py": [
        (CROSSROADS_DIFFUSION, 'dim = 1 if name == "embed_patches.weight" else 0', "dim = 0"),
        (
            CROSSROADS_DIFFUSION,
            "more.narrow(dim + 1, 0, fewer.shape[dim + 1])",
            "more.narrow(dim + 1, 1, fewer.shape[dim + 1])",
        ),
        (
            CROSSROADS_DIFFUSION,
            "unflatten(dim, (places, -1)).zero_()",
            "unflatten(dim, (places, -1))",
        ),
    ],
    "tests/test_member.py": [
        (MEMBER, 'name.startswith("ema.")', 'name.startswith("model.")'),
        (MEMBER, '== results["sha256"]:', '!= "":'),
    ],
    "tests/test_dit_scaling.py": [
        (DIT_SCALING, "late[-1] / late[0]", "late[0] / late[-1]"),
        (SCALING, "max(0.0, 1 - dim / patch_numbers)", "max(0.0, 1 - patch_numbers / dim)"),
    ],
    "tests/test_one_shot.py": [
        (ONE_SHOT, "torch.linalg.qr(clips.T).Q", "torch.linalg.qr(clips.T).Q[:, :-1]"),
        (ONE_SHOT, "self.probs.amax(-1) < CERTAINTY", "self.probs[..., 0] < CERTAINTY"),
        (ONE_SHOT, "torch.where(unsure, steps, -1).amax(0)", "unsure.sum(0) - 1"),
        (ONE_SHOT, "torch.special.xlogy(self.probs, self.probs)", "self.probs.log()"),
        (
            ONE_SHOT,
            "alpha_bar**0.5 / (1 - alpha_bar) * torch.cdist",
            "alpha_bar**0.5 * torch.cdist",
        ),
        (ONE_SHOT, "known.posterior(x_T, alpha_bar).mean(0)", "known.probs"),
        (ONE_SHOT, "trunk[k].x_t, timesteps[k:]", "trunk[0].x_t, timesteps"),
        (ONE_SHOT, "trunk[k] for k in chosen", "trunk[k] for k in range(len(chosen))"),
        (ONE_SHOT, "return slope.square()", "return slope.abs()"),
        (ONE_SHOT, "yield t - 1, x_t", "yield t, x_t"),
        (ONE_SHOT, "small_variance=small_variance, generator", "generator"),
        (ONE_SHOT, "step.x_t.var().item() / right", "step.x_t.std().item() / right"),
        (ONE_SHOT, "eta=1.0, clip=clip, generator=generator\n", "eta=1.0, generator=generator\n"),
        (ONE_SHOT, "step.x0_hat.abs() >= 1", "step.x_t.abs() >= 1e9"),
    ],
    "tests/test_crossroads.py": [
        (CROSSROADS, "return arrival + 1\n", "return arrival\n"),
        (CROSSROADS, "ARM_LENGTH // self.speed + 1", "ARM_LENGTH // self.speed"),
        (CROSSROADS, "(0.6, 0.3, 0.1)", "(0.6, 0.1, 0.3)"),
        (CROSSROADS, "(0.5, 0.0, 1.0)", "(0.5, 0.0, 0.0)"),
        (CROSSROADS, ".sum(-1).mT", ".sum(-1)"),
        (CROSSROADS, "images[:, 4:24, 4:24]", "images[:, 3:23, 4:24]"),
        (CROSSROADS, "HOUSE_SHADE = 0.25", "HOUSE_SHADE = 0.3"),
        (CROSSROADS, "cumsum(-1)[:, :2]", "cumsum(-1)"),
        (CROSSROADS, "chance[0, :, None] >=", "chance[1, :, None] >="),
        (
            CROSSROADS,
            "(walked - ARM_LENGTH).clamp(0, ARM_LENGTH)",
            "(walked - ARM_LENGTH).clamp(0)",
        ),
        (CROSSROADS, "(-1, 0), (0, -1), (1, 0)", "(-1, 0), (0, 1), (1, 0)"),
        (CROSSROADS, "returned &= self.preset.returns", "pass"),
        (
            CROSSROADS,
            "arrivals[torch.randint(len(arrivals), (batch,)",
            "arrivals[torch.randint(2, (batch,)",
        ),
        (CROSSROADS, "if returns and not self.preset.returns", "if False"),
        (CROSSROADS, "torch.maximum(2 * canvas - 1, self.map)", "torch.maximum(canvas, self.map)"),
        (CROSSROADS, "columns, rows =", "rows, columns ="),
    ],
    "tests/test_crossroads_eta.py": [
        (CROSSROADS_ETA, "num_steps, EXAM_SEED + seed", "num_steps, seed"),
        (CROSSROADS_ETA, "protocol.num_samples, seed)", "protocol.num_samples, 0)"),
        (CROSSROADS_ETA, "a.total_variation - b", "b.total_variation - a"),
        (CROSSROADS_ETA, 'gain(found["0"], found[eta])', 'gain(found["0"], found["0"])'),
        (CROSSROADS_ETA, "torch.multinomial(chances", "torch.multinomial(futures.probs"),
        (CROSSROADS_ETA, "if step <= t", "if step"),
        (CROSSROADS_ETA, "(clips @ basis)", "(clips @ basis).abs()"),
        (CROSSROADS_ETA, '"hat": {"eta": 1.0, "larger', '"hut": {"eta": 1.0, "larger'),
    ],
    "tests/test_curve.py": [
        (CURVE, "abs(math.log(a / b))", "math.log(a / b)"),
        (CURVE, "fmean(abs(a - b)", "sum(abs(a - b)"),
        (CURVE, "(a > b) - (a < b)", "a > b"),
        (CURVE, "{name: _as_line(measured[name]) for name in self.names}", "dict(measured)"),
        (CURVE, "not isinstance(h, bool) and h in", "h in"),
        (CURVE, "and len(line) == len(self.places)", "and True"),
        (CURVE, "min(shown), max(shown)", "self._heights[0], self._heights[-1]"),
        (CURVE_PLANE, "BOTTOM - (BOTTOM - TOP)", "TOP + (BOTTOM - TOP)"),
        (CURVE_PLANE, "math.exp(h) if self.log else h", "math.exp(h) if self.log else h + low"),
        (CURVE_PLANE, "_bars(x, low, high)", "_bars(x, low, middle)"),
        (CURVE_PLANE, "if drawn is not None:", "if drawn is None:"),
    ],
    "tests/test_exact_futures.py": [
        (
            CROSSROADS,
            "torch.stack([1 - comes_back, comes_back], 1)",
            "torch.stack([comes_back, 1 - comes_back], 1)",
        ),
        (CROSSROADS, "probs[:, :kinds].flatten()", "probs[:, :kinds].T.flatten()"),
        (CROSSROADS, "self.preset.tau1(arrival) - context", "self.preset.tau1(arrival)"),
        (
            EXACT,
            "torch.tensordot(self.probs, self.clips.double(), dims=1)",
            "self.clips.double().mean(0)",
        ),
        (EXACT, ".square().mean(-1)", ".square().sum(-1)"),
        (EXACT, "differs.cummax(-1).values", "differs"),
        (EXACT, "torch.diff(total, prepend=total.new_zeros(1))", "total"),
        (EXACT, "self.probs[matches] / self.probs[matches].sum()", "self.probs[matches]"),
        (EXACT, "& (self.probs > 0)\n        if", "\n        if"),
        (EXACT, "max(self.turn_step - length, 0)", "self.turn_step"),
        (EXACT, "clips - self.probs @ clips", "clips - clips.mean(0)"),
        (EXACT, "scale = self.probs.sqrt()", "scale = self.probs"),
        (EXACT, "2 * alpha_bar.sqrt() * overlap", "2 * alpha_bar * overlap"),
        (EXACT, "alpha_bar * clips.square()", "alpha_bar.sqrt() * clips.square()"),
        (EXACT, "(2 * (1 - alpha_bar))", "(1 - alpha_bar)"),
        (EXACT, "self.probs.log() - squares", "-squares"),
        (EXACT, "slopes = 1 / (betas * frame_size)", "slopes = 1 / (betas * frame_size * horizon)"),
        (EXACT, "- 2 * mixed.mT + norms", "- 2 * mixed.mT + 0 * norms"),
        (EXACT, "        points = joint.mT / weights[..., None]\n", ""),
        (EXACT, "drawn[:, None] >= ", "drawn[:, None] <= "),
    ],
    "tests/test_futures.py": [
        (JUDGE, "error[..., start:].sum(-1)", "error.sum(-1)"),
        (JUDGE, "(error / size).amax(-1)", "(error / size)[..., start:].amax(-1)"),
        (JUDGE, "(worst <= VALID_FRAME)", "(worst <= 1)"),
        (JUDGE, "VALID_DISTANCE = 0.15", "VALID_DISTANCE = 0.25"),
        (JUDGE, "valid=shows[:, possible]", "valid=shows"),
        (JUDGE, "forbidden=shows[:, ~possible]", "forbidden=shows[:, possible]"),
        (JUDGE, "abs().sum().item() / 2,", "abs().sum().item(),"),
        (JUDGE, "m = (n * p).floor()", "m = (n * p).ceil()"),
        (JUDGE, "(num_samples * (num_samples - 1))", "num_samples**2"),
        (JUDGE, "to_truth - spread / 2", "to_truth - spread"),
        (JUDGE, 'values("forbidden")[at_risk], cues[at_risk]', 'values("forbidden"), cues'),
        (JUDGE, "values[strata == stratum]", "values"),
        (JUDGE, "[0.025, 0.975]", "[0.05, 0.95]"),
        (
            JUDGE,
            "members[torch.randperm(len(members), generator=generator)[:wanted]]",
            "members[:wanted]",
        ),
        (JUDGE, "torch.randint(len(arrivals), (wanted,)", "torch.randint(1, (wanted,)"),
        (JUDGE, "futures.mmse()[start:].sum()", "futures.mmse().mean()"),
        (JUDGE, "(prediction - futures.mean())[start:]", "(prediction - futures.mean())"),
        (JUDGE, "whole.argmin(1)", "whole[:, possible].argmin(1)"),
        (JUDGE, "futures.probs @ torch.cdist(clips, clips)", "torch.cdist(clips, clips).mean(0)"),
    ],
    "tests/test_frames.py": [
        (FRAMES, "DATA_RANGE = 2.0", "DATA_RANGE = 1.0"),
        (FRAMES, "data_range**2 / mse", "data_range / mse"),
        (FRAMES, ".mean((2, 3, 4))\n\n\ndef psnr", ".sum(2).mean((2, 3))\n\n\ndef psnr"),
        (FRAMES, "SSIM_SIGMA = 1.5", "SSIM_SIGMA = 1.6"),
        (FRAMES, 'mode="reflect"', 'mode="replicate"'),
        (FRAMES, "(0.03 * data_range)", "(0.01 * data_range)"),
        (
            FRAMES,
            "down = video[..., 1:, :-1] - video[..., :-1, :-1]",
            "down = video[..., 1:, 1:] - video[..., :-1, :-1]",
        ),
        (
            FRAMES,
            "return scores[best, torch.arange(scores.shape[1], device=scores.device)]",
            "return scores.amax(0) if larger_is_better else scores.amin(0)",
        ),
        (
            FRAMES,
            "argmax(0) if larger_is_better else per_clip.argmin(0)",
            "argmin(0) if larger_is_better else per_clip.argmax(0)",
        ),
        (
            FRAMES,
            "cov = _window_mean(x * y) - mean_x * mean_y",
            "cov = (_window_mean(x * y) - mean_x * mean_y).clamp(min=0)",
        ),
        (FRAMES, ".mean((1, 2, 3)).unflatten", "[..., 5:-5, 5:-5].mean((1, 2, 3)).unflatten"),
        (FRAMES, "(num_samples * (num_samples - 1))", "num_samples**2"),
        (FRAMES, "to_truth - between / 2", "to_truth - between"),
        (FRAMES, "x.norm(dim=2).mean(1)", "x.mean(1).norm(dim=1)"),
        (FRAMES, "/ x.shape[2] ** 0.5", "/ x.shape[2]"),
    ],
    "tests/test_distributions.py": [
        (DISTRIBUTIONS, "- 2 * cross", "- cross"),
        (DISTRIBUTIONS, "/ (len(features) - 1)", "/ len(features)"),
        (DISTRIBUTIONS, "(mean1 - mean2).square().sum()", "(mean1 - mean2).square().sum().sqrt()"),
        (
            DISTRIBUTIONS,
            "torch.linalg.eigvalsh(root1 @ cov2 @ root1)",
            "values * torch.linalg.eigvalsh(cov2)",
        ),
        (DISTRIBUTIONS, "centred = features - mean", "centred = features"),
        (DISTRIBUTIONS, "eigenvalues.clamp(min=0).sqrt()", "eigenvalues.sqrt()"),
        (DISTRIBUTIONS, "    features = features.double()\n", "    features = features.float()\n"),
        (
            DISTRIBUTIONS,
            "(vectors * _roots(values)) @ vectors.T",
            "(vectors * _roots(values)) @ vectors",
        ),
        (DISTRIBUTIONS, "kthvalue(neighbours + 1, dim=1)", "kthvalue(neighbours, dim=1)"),
        (
            DISTRIBUTIONS,
            "torch.cdist(real, samples).amin(1) <= radius",
            "torch.cdist(samples, real).amin(1) <= radius[0]",
        ),
        (DISTRIBUTIONS, "amin(1) <= radius", "amin(1) <= radius.max()"),
        (DISTRIBUTIONS, "1 <= neighbours < len(real)", "1 <= neighbours <= len(real)"),
    ],
    "tests/test_toy.py": [
        (TOY, "self.sigmas[bump, None] * noise", "self.sigmas[bump, None] ** 2 * noise"),
        (TOY, "x.shape[-1] * (", "1 * ("),
        (TOY, "(2 * self.sigmas**2)", "(2 * self.sigmas)"),
        (
            TOY,
            "kept * self.sigmas**2 + 1 - kept\n        return",
            "self.sigmas**2 + 1 - kept\n        return",
        ),
        (
            TOY,
            "log_norm = 0.5 * x_t.shape[-1] * variances.log()",
            "log_norm = 0.5 * variances.log()",
        ),
        (TOY, "gain = kept.sqrt() * variances /", "gain = variances /"),
        (TOY, "means = self.means + gain * apart", "means = gain * apart"),
        (TOY, "(weights * means).sum(-2)", "(self.weights[:, None] * means).sum(-2)"),
    ],
    "tests/test_noise.py": [
        (NOISE, "cls((1 - betas).cumprod(0))", "cls((1 - betas).sqrt().cumprod(0))"),
        (NOISE, "torch.arange(self.num_timesteps) - 1", "torch.arange(self.num_timesteps)"),
        (NOISE, "alphas_cumprod])[t + 1]", "alphas_cumprod])[t]"),
        (
            NOISE,
            "return alpha_bar / (1 - alpha_bar)",
            "return (alpha_bar / (1 - alpha_bar)).sqrt()",
        ),
        (NOISE, "from_betas(roots**2)", "from_betas(roots)"),
        (NOISE, "curve[1:] / curve[0]", "curve[1:]"),
        (NOISE, "torch.logit(plain) + shift", "torch.logit(plain) + 2 * shift"),
        (NOISE, ".clamp(max=0.999)", ".clamp(max=0.9999)"),
        (NOISE, "(1 - alpha_bar).sqrt(), x0)\n    return", "1 - alpha_bar, x0)\n    return"),
        (NOISE, "like((1 - alpha_bar).sqrt(), x0)", "(1 - like(alpha_bar, x0)).sqrt()"),
        (NOISE, "not -1 <= int(t.min())", "not -2 <= int(t.min())"),
        (NOISE, "(table.diff() < 0)", "(table.diff() <= 0)"),
    ],
    "tests/test_diffusion.py": [
        (NOISE, "cls((1 - betas).cumprod(0))", "cls((1 - betas).sqrt().cumprod(0))"),
        (DIFFUSION, "scale = signal * b - noise * a", "scale = signal * b + noise * a"),
        (DIFFUSION, "eps_hat = like(signal / scale, x_t)", "eps_hat = like(1 / scale, x_t)"),
        (DIFFUSION, "return from_x0(x_t, x0_hat, alpha_bar)\n\n\nD", KEEPS_EPS),
        (DIFFUSION, "c0 = before.sqrt() * (1 - alpha)", "c0 = before * (1 - alpha)"),
        (DIFFUSION, "ct = alpha.sqrt() *", "ct = alpha *"),
        (DIFFUSION, "return (1 - before) / (1 - alpha_bar) *", "return (1 - alpha_bar) *"),
        (
            DIFFUSION,
            "return -(1 - alpha_bar).sqrt(), alpha_bar",
            "return (1 - alpha_bar).sqrt(), alpha_bar",
        ),
        (DIFFUSION, "return c0 + ct * alpha_bar.sqrt()", "return c0 + ct"),
        (DIFFUSION, "error.square().flatten(1).mean(1)", "error.square().flatten(1).sum(1)"),
        (DIFFUSION, "betas / (2 * alphas *", "betas / (2 *"),
        (DIFFUSION, "        if t > 0:\n", "        if t >= 0:\n"),
        (DIFFUSION, "if small_variance else", "if not small_variance else"),
        (DIFFUSION, "like(variance.sqrt(), x_t)", "1.05 * like(variance.sqrt(), x_t)"),
        (DIFFUSION, "like(variance.sqrt(), x_t)", "like(variance, x_t)"),
        (DIFFUSION, "schedule.betas[t]\n", "schedule.betas[t - 1]\n"),
        (
            DIFFUSION,
            "range(schedule.num_timesteps - 1, -1, -1)",
            "range(schedule.num_timesteps - 2, -1, -1)",
        ),
        (DIFFUSION, "torch.full((len(x_t),), t,", "torch.full((len(x_t),), max(t - 1, 0),"),
        (
            DIFFUSION,
            "torch.randn(x.shape, generator=generator,",
            "torch.rand(x.shape, generator=generator,",
        ),
        (DIFFUSION, "@torch.no_grad()\n", ""),
    ],
    "tests/test_ddim.py": [
        (DDIM, "    return eta * variance.sqrt()", "    return 1.05 * eta * variance.sqrt()"),
        (DDIM, "    return eta * variance.sqrt()", "    return (eta * variance).sqrt()"),
        (DDIM, "(1 - alpha_bar_prev - sigma**2)", "(1 - alpha_bar_prev)"),
        (DDIM, "(1 - alpha_bar_prev - sigma**2)", "(1 - alpha_bar_prev - sigma)"),
        (DDIM, "[*timesteps[1:], -1], strict=True):\n", "[*timesteps[1:], 0], strict=True):\n"),
        (DDIM, "schedule.alpha_bar(t_prev)", "schedule.alpha_bar(max(t - 1, -1))"),
        (DDIM, "schedule.alpha_bar(t_prev)", "schedule.alpha_bar(max(t_prev - 1, -1))"),
        (DDIM, "if t_prev >= 0 else torch.zeros_like(sigma)", "if True else sigma"),
        (DDIM, "        x_prev = ddim_step(found.x0_hat", HAT_IN_DIRECTION),
        (DDIM, "        if sigma > 0:\n", "        if True:\n"),
        (
            DDIM,
            "return (1 - alpha_bar / alpha_bar_prev).sqrt()",
            "return 1 - alpha_bar / alpha_bar_prev",
        ),
        (DDIM, "[i * num_timesteps // num_steps for", "[i * (num_timesteps // num_steps) for"),
        (DDIM, "rising[-1] + 1 if", "rising[-1] if"),
        (DDIM, "top * i**2 // max(num_steps - 1, 1) ** 2", "top * i // max(num_steps - 1, 1)"),
        (DDIM, "// num_steps - 1 for i", "// num_steps - (i > 1) for i"),
        (DDIM, "x, max(t, 0), None).eps_hat", "x, t_next, None).eps_hat"),
        (DDIM, "(x - (1 - alpha_bar).sqrt() * eps_hat) / alpha_bar.sqrt()", "x / alpha_bar.sqrt()"),
        (DDIM, "zip([-1, *timesteps[:-1]], timesteps", "zip([0, *timesteps[:-1]], timesteps"),
        (DDIM, "(share * angle).sin()]) / angle.sin()", "(share * angle).sin()])"),
        (DDIM, "cosine.abs() > 1 - 1e-6, line, arc", "cosine > 2, line, arc"),
        (DDIM, "first.double().flatten(1), second", "first.double().flatten()[None], second"),
        (DDIM, "return deque(steps, maxlen=1)[0].x_prev", "return [*steps][-1].x_prev"),
    ],
    "tests/test_predictor.py": [
        (
            PREDICTOR,
            "predict(frames[:, -seen:], min(left, longest)",
            "predict(frames[:, :seen], min(left, longest)",
        ),
        (PREDICTOR, "min(left, longest), generator=generator)", "longest, generator=generator)"),
        (
            PREDICTOR,
            "self.network(x_t, t, context)",
            "self.network(x_t, t, context[:1].expand_as(context))",
        ),
        (PREDICTOR, "num_timesteps, self.num_steps)", "num_timesteps, self.num_steps - 1)"),
        (PREDICTOR, "            clip=self.clip,\n", "            clip=1.0,\n"),
        (PREDICTOR, "            eta=self.eta,\n", "            eta=0.0,\n"),
        (PREDICTOR, "            generator=generator,\n        )", "        )"),
        (PREDICTOR, "noise_like(empty, generator)", "noise_like(empty, None)"),
        (PREDICTOR, "if horizon != self.horizon", "if horizon > self.horizon"),
        (DDIM, "schedule.alpha_bar(t_prev)", "schedule.alpha_bar(max(t - 1, -1))"),
    ],
    "tests/test_guidance.py": [
        (GUIDANCE, "eps_unconditional, eps_conditional,", "eps_conditional, eps_unconditional,"),
        (
            GUIDANCE,
            "eps_conditional, guidance_scale)\n\n",
            "eps_conditional, guidance_scale + 1)\n\n",
        ),
        (GUIDANCE, "guide(with_class.x0_hat, without", "guide(with_class.x0_hat, with_class"),
        (GUIDANCE, "guide(with_class.eps_hat, without", "guide(with_class.eps_hat, with_class"),
        (GUIDANCE, "    if guidance_scale == 1:\n        return conditional\n", ""),
        (GUIDANCE, "return conditional\n", "return unconditional\n"),
        (GUIDANCE, "if not guidance_scale >= 0", "if guidance_scale < 0"),
        (
            GUIDANCE,
            "with_class, without = conditional(x_t, t)",
            "with_class, without = conditional(x_t, t - t)",
        ),
    ],
    "tests/test_likelihood.py": [
        (LIKELIHOOD, "correction=0", "correction=1"),
        (
            LIKELIHOOD,
            "return (log_q.exp() * (log_q - log_p)).sum()",
            "return (log_p.exp() * (log_p - log_q)).sum()",
        ),
        (LIKELIHOOD, "key=lambda pair: pair[0]", "key=lambda pair: -pair[0]"),
        (LIKELIHOOD, "- (sd * math.sqrt(2 * math.pi)).log()", "- 0 * sd"),
    ],
    "tests/test_pedestrians.py": [
        (PEDESTRIANS, "slice(600, 795)", "slice(500, 795)"),
        (PEDESTRIANS, "dtype=np.uint8)", "dtype=np.int64).astype(np.uint8) // 2 * 1"),
        (
            PEDESTRIANS,
            "range(0, len(strip) - num_frames + 1, num_frames)",
            "range(0, len(strip) - num_frames + 1, num_frames // 2)",
        ),
        (PEDESTRIANS, "].clone()", "]"),
    ],
    "tests/test_training.py": [
        (AVERAGE, "lerp_(weight, 1 - decay)", "lerp_(weight, decay)"),
        (AVERAGE, "(1 + step) / (10 + step)", "step / (10 + step)"),
        (AVERAGE, "            shadow.copy_(buffer)", "            pass"),
        (LOOP, "SeedSequence((seed, step))", "SeedSequence((seed, 0))"),
        (LOOP, "SeedSequence((seed, step))", "SeedSequence((0, step))"),
        (LOOP, "* schedule(state.step)", "* schedule(state.step - 1)"),
        (LOOP, "while state.step < steps:", "while state.step <= steps:"),
        (LOOP, "update(state.model, state.step)", "update(state.model, state.step - 1)"),
        (LOOP, "    optimizer.zero_grad()\n", ""),
        (LOOP, "step_seed(seed, state.step) ^ (rank + 1)", "seed"),
        (LOOP, "with torch.random.fork_rng(devices=[]):", "with nullcontext():"),
        (RECIPE, "default_generator.manual_seed(config.seed)", "default_generator.seed()"),
        (RECIPE, "1.96 * values.std().item() / len(values) ** 0.5", "1.96 * values.std().item()"),
        (LOOP, "state.step >= each.first_step", "state.step > each.first_step"),
        (LOOP, "get_total_norm(gradients)", "get_total_norm(weights)"),
    ],
    "tests/test_checkpoint.py": [
        (CHECKPOINT, "tensors_sha256(tensors), manifest[", 'manifest["sha256"], manifest['),
        (CHECKPOINT, "reshape(-1).view(torch.uint8).numpy()", "reshape(-1)[:0].numpy()"),
        (CHECKPOINT, "{tensor.dtype} {tuple", "{tuple"),
        (CHECKPOINT, '"manifest", sha256,', '"manifest", metadata["manifest_sha256"],'),
        (CHECKPOINT, "strict=True)", "strict=False)"),
        (CHECKPOINT, "        os.fsync(file.fileno())\n", ""),
        (CHECKPOINT, 'path.with_name(path.name + ".partial")', "path"),
        (
            CHECKPOINT,
            "[name] = value\n    #",
            '[name] = value if name != "step" else 0 * value\n    #',
        ),
    ],
    "tests/test_train_command.py": [
        (LOOP, "_average([*gradients, *reported", "_average([*reported"),
        (LOOP, "rows.chunk(num_ranks)[rank]", "rows.chunk(num_ranks)[0]"),
        (RUN, 'state.step = manifest["step"]', 'state.step = manifest["step"] + 1'),
        (RUN, 'parts.get("ema", {})', 'parts.get("model", {})'),
        (RUN, "        checkpoint.restore_optimizer(objective.optimizer, moments, values)\n", ""),
        (RUN, "{path, *before[:1]}", "{path}"),
        (RUN, "            continue\n", "            break\n"),
        (RUN, "        check_equal(manifest[", "        (manifest["),
        (RUN, "if leader and made and", "if False and"),
        (
            RUN,
            "e.parts[name] for e in made if name in",
            "e.parts[name] for e in made[-1:] if name in",
        ),
        (PUBLISH, "checkpoint.half(state.ema.model", "checkpoint.half(state.model"),
        (PUBLISH, "if recipe.higher_is_better", "if not recipe.higher_is_better"),
        (RECIPE, "        self.check_manifest(manifest, self.path, model)\n", ""),
        (TRAIN, "if _agreed(stop, fabric):", "if False:"),
    ],
    "tests/test_convlstm.py": [
        (CONVLSTM, "i, f, g, o = sums", "f, i, g, o = sums"),
        (CONVLSTM, "cell = f * cell + i", "cell = cell + i"),
        (CONVLSTM, "torch.sigmoid(o + w_co * cell)", "torch.sigmoid(o + w_co * state[1])"),
        (CONVLSTM, "torch.sigmoid(f + w_cf * cell)", "torch.sigmoid(f + w_ci * cell)"),
        (CONVLSTM, "hidden = o * torch.tanh(cell)", "hidden = o * cell"),
        (CONVLSTM, "return hidden, (hidden, cell)", "return hidden, (state[0], cell)"),
        (CONVLSTM, "for _ in range(horizon):", "for _ in range(horizon + 1):"),
        (CONVLSTM, "step(self.forecaster, None, states)", "step(self.encoder, None, states)"),
        (
            CONVLSTM,
            "for frame in context.unbind(dim=1)",
            "for frame in context[:, 1:].unbind(dim=1)",
        ),
        (CONVLSTM, "context.unbind(dim=1)", "context.flip(1).unbind(dim=1)"),
        (
            CONVLSTM,
            "        states = self.encode(context)\n",
            "        self.states = getattr(self, 'states', None) or self.encode(context)\n"
            "        states = self.states\n",
        ),
        (CONVLSTM, "        new_states.append(state)", "        new_states.append((x, x))"),
    ],
    "tests/test_gaussian.py": [
        (GAUSSIAN, "self.logits.log_softmax(-1) + each", "self.logits + each"),
        (GAUSSIAN, "self.components[index])", "self.components)"),
        (GAUSSIAN, "drawn.take_along_dim(chosen, -2).squeeze(-2)", "drawn[..., 0, :]"),
        (GAUSSIAN, "weights.flatten(0, -2), 1, generator=generator", "weights.flatten(0, -2), 1"),
        (GAUSSIAN, "(0.5 * self.logvar).exp()", "self.logvar.exp()"),
        (GAUSSIAN, "(0.5 * self.logvar).exp()", "self.logvar"),
        (GAUSSIAN, "self.sigma * eps.to(self.mean.device)", "eps.to(self.mean.device)"),
        (GAUSSIAN, "self.mean + self.sigma *", "self.mean + self.sigma.detach() *"),
        (GAUSSIAN, "device=device, generator=generator\n", "device=device\n"),
        (GAUSSIAN, "-0.5 * (squares", "-(squares"),
        (GAUSSIAN, "square() * (-self.logvar).exp()", "square() * (-0.5 * self.logvar).exp()"),
        (GAUSSIAN, "squares + self.logvar +", "squares - self.logvar +"),
        (GAUSSIAN, "2 * math.pi)).sum(-1)", "2 * math.pi)).sum(0)"),
        (GAUSSIAN, "2 * math.pi) + 1).sum(-1)", "2 * math.pi)).sum(-1)"),
        (GAUSSIAN, "q.logvar - p.logvar", "p.logvar - q.logvar"),
        (GAUSSIAN, "(-p.logvar).exp()", "(-q.logvar).exp()"),
        (GAUSSIAN, "0.5 * (squares + log_ratio", "(squares + log_ratio"),
        (GAUSSIAN, "- log_ratio).sum(-1)", "- log_ratio).mean(-1)"),
        (GAUSSIAN, "- log_ratio).sum(-1)", "- log_ratio).sum(0)"),
        (GAUSSIAN, "log_ratio.expm1()", "log_ratio.exp() - 1"),
        (GAUSSIAN, ", torch.zeros_like(like))", ", torch.ones_like(like))"),
        (GAUSSIAN, '        _check_shape("logvar", self.logvar, self.mean)\n', "        pass\n"),
        (GAUSSIAN, '    _check_shape("p", p.mean, q.mean)\n', ""),
        (GAUSSIAN, '        _check_shape("z", z, self.mean)\n', ""),
    ],
    "tests/test_vae.py": [
        (VAE, "math.sqrt(beta * num_pixels / 2)", "math.sqrt(beta * num_pixels)"),
        (VAE, "math.sqrt(beta * num_pixels / 2)", "beta * num_pixels / 2"),
        (VAE, "return 2 * sigma**2 / num_pixels", "return 2 * sigma / num_pixels"),
        (VAE, "return 2 * lambda_max / num_pixels", "return lambda_max / num_pixels"),
        (VAE, "return 2 * lambda_max / num_pixels", "return 2 * lambda_max**0.5 / num_pixels"),
        (VAE, "beta * kl_divergence(posterior, prior)", "beta * kl_divergence(prior, posterior)"),
        (VAE, "kl = kl_divergence(posterior, prior)", "kl = kl_divergence(prior, posterior)"),
        (VAE, "x, sigma=sigma) - kl", "x, sigma=sigma) + kl"),
        (VAE, "square().mean((-3, -2, -1))", "square().sum((-3, -2, -1))"),
        (VAE, "square().mean((-3, -2, -1))", "square().mean((-2, -1)).sum(-1)"),
        (VAE, "-0.5 * num_pixels *", "-0.5 *"),
        (VAE, "x) / sigma**2", "x) / sigma"),
        (VAE, "x_hat.shape[-3:].numel()", "x_hat.shape[-2:].numel()"),
        (VAE, "math.pi * sigma**2", "math.pi * sigma"),
        (
            VAE,
            "    z = q.sample(generator=generator).detach()",
            "    z = q.sample(generator=generator)",
        ),
        (VAE, "weighted = _values(f, z).detach() *", "weighted = _values(f, z).detach() +"),
        (
            VAE,
            "values = _values(f, q.sample(generator=generator))",
            "values = _values(f, q.sample())",
        ),
        (VAE, "z = q.sample(generator=generator)", "z = q.sample()"),
        (VAE, "    if given[:-1] != expected:", "    if False:"),
        (VAE, "    if values.shape != z.shape[:-1]:", "    if False:"),
        (VAE, "    if x.shape != x_hat.shape:", "    if False:"),
        (VAE, "if not beta >= 0:", "if False:"),
        (VAE, "if not value > 0:", "if value < 0:"),
    ],
    "tests/test_classifier.py": [
        (READER, "            nn.ReLU(),\n        )\n", "        )\n"),
        (
            REDRAWING,
            "images + 1, grid, align_corners=False) - 1",
            "images, grid, align_corners=False)",
        ),
        (REDRAWING, "MAX_SHIFT = 4 / 14", "MAX_SHIFT = 4 / 28"),
        (REDRAWING, "MAX_SHIFT * (2 * down - 1)", "MAX_SHIFT * down"),
        (REDRAWING, "THINNEST = -0.5", "THINNEST = 0.0"),
        (REDRAWING, '"labels": labels[chosen]', '"labels": labels[: len(chosen)]'),
    ],
    "tests/test_chapter0_recipes.py": [
        (CHAPTER0, "step >= f.turn_step", "step > f.turn_step"),
        (CHAPTER0, "(self.mmse * self.after).sum(1)", "self.mmse.sum(1)"),
        (CHAPTER0, "(above.sum() / below.sum())", "(above / below).mean()"),
        (CHAPTER0, "[:, strata == stratum]", ""),
        (CHAPTER0, "& (futures.probs > 0)\n", "& (futures.probs >= 0)\n"),
        (CHAPTER0, "- least - exam.errors", "- exam.errors"),
        (CHAPTER0, "f.probs.argmax()", "f.probs.argmin()"),
        (CHAPTER0, 'world("train")\n', 'world("test")\n'),
        (CHAPTER0, ', batch["future"])\n', ', 0 * batch["future"])\n'),
    ],
    "tests/test_svg.py": [
        (SVG, "self.posterior.log_prob(self.z) - self", "self.posterior.log_prob(self.z) + self"),
        (SVG, "h, _ = self._encode(fed, context)", "pass"),
        (SVG, "posterior, h, skips = self._infer(video, context)", FED_TO_POSTERIOR),
        (DCGAN, "2 ** (len(self.channels) - 1)", "2 ** len(self.channels)"),
        (DCGAN, "stride = 2 if level else p", "stride = 2"),
        (
            DCGAN,
            "nn.BatchNorm2d(config.feature_dim) if config.norm_groups is None else nn.Identity()",
            "nn.Identity()",
        ),
        (DCGAN, "            nn.Tanh(),\n", ""),
        (
            DCGAN,
            "nn.LeakyReLU(0.2)))\n        self.to_features",
            "nn.ReLU()))\n        self.to_features",
        ),
        (DCGAN, "of_x, of_skip =", "of_skip, of_x ="),
        (DCGAN, "of_skip, None, self.stride", "of_skip, self.conv.bias, self.stride"),
        (
            DCGAN,
            "x.unflatten(0, (len(skip), -1)) + skip[:, None]",
            "x.unflatten(0, (-1, len(skip))) + skip",
        ),
        (DCGAN, "(config.feature_dim, dim), nn.LeakyReLU(0.2))", "(config.feature_dim, dim))"),
        (DCGAN, "self.activations.append(nn.Tanh())", "self.activations.append(nn.Sigmoid())"),
        (SVG, "[:, context - 1] for s", "[:, context - 2] for s"),
        (SVG, "posterior.sigma * eps", "posterior.sigma**2 * eps"),
        (SVG, "posterior.sigma * eps", "posterior.sigma * eps.abs()"),
        (SVG, "self.posterior(h)[0][", "self.posterior(h.roll(1, 1))[0]["),
        (SVG, "self.prior(h[:, :-1])[0]", "self.prior(h[:, 1:])[0]"),
        (SVG, "self.predictor(h[:, :-1], F.pad", "self.predictor(h[:, 1:], F.pad"),
        (SVG, "(0, 0, context - 1, 0)", "(0, 0, 0, context - 1)"),
        (SVG, "g[:, context - 1 :]", "g[:, : g.shape[1] - context + 1]"),
        (SVG, "return h + self.to_features", "return self.to_features"),
        (SVG, "(nn.Linear(hidden, dim), nn.Tanh())", "(nn.Linear(hidden, dim))"),
        (SVG, "nn.Linear(hidden + dim, hidden), nn.ReLU()", "nn.Linear(hidden + dim, hidden)"),
        (SVG, "z[:, None], state.predictor_state)", "z[:, None], None)"),
        (SVG, "predictor_state, state.prior_state)", "predictor_state, None)"),
        (SVG, "config.predictor_layers, batch_first=True", "config.predictor_layers"),
        (
            SVG,
            "        out, state = self.lstm(self.embed(torch.cat([h, z], -1)), state)\n",
            "        state = state or getattr(self, 'kept', None)\n"
            "        out, state = self.lstm(self.embed(torch.cat([h, z], -1)), state)\n"
            "        self.kept = state\n",
        ),
        (SVG, "state.prior.sample(generator=generator)", "state.prior.sample()"),
        (SVG, "state.prior.sample(generator=generator)", "state.prior.mean"),
        (SVG, "self.predictor(h[:, :-1], no_latent)", "self.predictor(h[:, 1:], no_latent)"),
        (SVG, "if h.shape[1] > 1:", "if h.shape[1] > 2:"),
        (SVG, "prior[:, -1], predictor_state", "prior[:, 0], predictor_state"),
        (
            SVG,
            "(*self.to_gaussian(out).chunk(2, -1))",
            "(*self.to_gaussian(out).chunk(2, -1)[::-1])",
        ),
        (SVG, "prior = DiagonalGaussian.standard(posterior.mean)", "prior = posterior"),
        (SVG, '{"learned": GaussianLSTM', '{"fixed": GaussianLSTM, "learned": GaussianLSTM'),
        (SVG, "h = self.encoder(frame)[0][:, None]", "h = g"),
        (SVG, "    predictor_layers=2,\n", ""),
        (SVG, "    residual=False,\n", ""),
    ],
    "tests/test_moving_mnist.py": [
        (MOVING, "(position - target).sign()", "(target - position).sign()"),
        (MOVING, "inward * velocity.abs()", "-velocity"),
        (MOVING, "target.clamp(0, self.room)", "target.clamp(0, self.room - 1)"),
        (MOVING, "bounces[..., None], redrawn", "inward != 0, redrawn"),
        (MOVING, "torch.where(bounces[..., None], redrawn, velocity)", "redrawn"),
        (MOVING, "(inward != 0).any(-1)", "(inward != 0).all(-1)"),
        (MOVING, "if self.stochastic:", "if True:"),
        (MOVING, "for redrawn in drawn[1:]", "for redrawn in drawn[:-1]"),
        (MOVING, "(high - low) * share", "(high - low) * share**2"),
        (MOVING, "positions.round().long()", "positions.long()"),
        (
            MOVING,
            "torch.maximum(canvas[places], ink[:, None, k])",
            "ink[:, None, k].expand_as(canvas[places])",
        ),
        (MOVING, "columns, rows =", "rows, columns ="),
        (MOVING, "2 * math.pi * turns", "math.pi * turns"),
        (
            MOVING,
            "avg_pool2d(images, 28 // side)",
            "images[..., :: 28 // side, :: 28 // side]",
        ),
        (MOVING, "self.room * torch.rand", "0.5 * self.room * torch.rand"),
        (
            MOVING,
            "self.num_frames, *each, dtype=torch.float64, generator=generator",
            "self.num_frames, *each, dtype=torch.float64",
        ),
        (MOVING, "torch.rand(*each, 1, dtype", "torch.rand(batch, 1, 1, dtype"),
    ],
    "tests/test_svg_recipes.py": [
        (CROSSING, "progress - 0.2) / 0.4", "progress - 0.2) / 0.6"),
        (CROSSING, "posterior.mean + posterior.sigma * eps", "posterior.mean"),
        (CROSSING, "video, TWICE.context, eps, fed)", "video, TWICE.context, eps)"),
        (CROSSING, "mean((2, 3, 4)).sum(1)", "mean((2, 3, 4)).mean(1)"),
        (CROSSING, "kl = passed.kl().sum(1).mean()", "kl = passed.kl().mean()"),
        (EXAM, 'TWICE.tau1(0) if event == "turn"', 'TWICE.tau2(0) if event == "turn"'),
        (EXAM, "(self.news > 0)", "(self.news >= 0)"),
        (EXAM, "possible.filter(after[:first])", "possible.filter(after[: first - 3])"),
        (EXAM, "idle = ~(turn | back)", "idle = ~turn"),
        (EXAM, "centred = x - x.mean()", "centred = x"),
        (EXAM, "& (futures.probs > 0)).any()", ").any()"),
        (EXAM, "if t == step:", "if t >= step:"),
        (EXAM, "before[t].expand_as(offsets) if t < step", "before[t].expand_as(offsets) if False"),
    ],
    "tests/test_digit_vae.py": [
        (DIGIT_VAE, "posterior.sigma * eps", "posterior.logvar * eps"),
        (DIGIT_VAE, "posterior.mean + posterior.sigma", "posterior.sigma"),
        (DIGIT_VAE, "nn.Tanh()", "nn.Identity()"),
        (DIGIT_PLANE, "eps if config.sigma else torch.zeros_like(eps)", "eps"),
        (DIGIT_PLANE, 'digits("train")\n    chosen', 'digits("test")\n    chosen'),
        (
            DIGIT_PLANE,
            "pixel_beta(config.sigma, NUM_PIXELS) if",
            "pixel_beta(config.sigma, 1) if",
        ),
        (DIGIT_PLANE, 'indexing="ij"', 'indexing="xy"'),
        (DIGIT_PLANE, "torch.stack([x, y], -1)", "torch.stack([y, x], -1)"),
        (DIGIT_PLANE, "cholesky(mean.T.cov()).T", "cholesky(mean.T.cov())"),
        (DIGIT_PLANE, "distances.argmin(1)", "distances.argmax(1)"),
        (DIGIT_PLANE, "softmax(-1).amax(-1)", "sigmoid().amax(-1)"),
        (DIGIT_PLANE, "z = posterior.sample(generator=generator) if", "z = posterior.mean if"),
    ],
    "tests/test_chapter1_checks.py": [
        (f"{CHECKS}_nets.py", "svg.prior(h[:, :-1])[1]", "svg.prior(h)[1]"),
        (f"{CHECKS}_nets.py", "svg.posterior(h)[1]", "svg.posterior(h[:, 1:])[1]"),
        (f"{CHECKS}_nets.py", '"predictor": state.predictor_state', '"predictor": None'),
        (f"{CHECKS}_nets.py", "if svg.prior is None or h.shape[1] == 1 else", "if 1 else"),
        (f"{CHECKS}_nets.py", "zeros, zeros, None", "zeros, zeros + 1, None"),
        (f"{CHECKS}_nets.py", "q.sigma * eps", "q.sigma.detach() * eps * 1.01"),
        (f"{CHECKS}_nets.py", "        previous = nets.decoder(g)\n", "        nets.decoder(g)\n"),
        (
            f"{CHECKS}_nets.py",
            "kl_divergence(q, DiagonalGaussian(p_mean, p_logvar))",
            "kl_divergence(DiagonalGaussian(p_mean, p_logvar), q)",
        ),
        (f"{CHECKS}_drawn.py", "(0 if state is None else 2 * state @ onward.T)", "0"),
        (f"{CHECKS}_drawn.py", "torch.cat([h, z], 1), state)", "torch.cat([h, 0 * z], 1), state)"),
        (f"{CHECKS}_drawn.py", "        run(function, step)\n", ""),
        (f"{CHECKS}_svg.py", "if not _equal(result, expected):", "if False:"),
        (f"{CHECKS}_svg.py", "if close(slopes[1], slopes[0]):", "if True:"),
        (
            f"{CHECKS}_svg.py",
            "all(close(result[n], expected[n])",
            "any(close(result[n], expected[n])",
        ),
        (f"{CHECKS}_sampling.py", "each and float(together) < FAR", "each"),
        (f"{CHECKS}_sampling.py", "each and float(together) < FAR", "float(together) < FAR"),
        (f"{CHECKS}_sampling.py", "_is_standard(eps[t, :, i])", "True"),
        (f"{CHECKS}_sampling.py", "    if close(future, expected):\n", "    if True:\n"),
        (f"{CHECKS}_sampling.py", "for seed in (0, 0, 1)", "for seed in (0, 0, 0)"),
        (f"{CHECKS}_sampling.py", "not torch.equal(first, again)", "False"),
        (
            f"{CHECKS}_sampling.py",
            "if not torch.equal(before, torch.random.get_rng_state()) or",
            "if",
        ),
        (f"{CHECKS}_gaussian.py", "    if torch.equal(first, second):\n", "    if True:\n"),
        (PROPERTIES, "if not close(slope, right):", "if not slope.any():"),
        (PROPERTIES, "if not close(slope, right):", "if False:"),
        (PROPERTIES, "in (truth, candidate))", "in (candidate, candidate))"),
        (f"{CHECKS}_gaussian.py", "kl_divergence(q, Normal(", "2 * kl_divergence(q, Normal("),
        (
            f"{CHECKS}_elbo.py",
            "square() - logvar.exp()).sum(1) / 2",
            "square() - logvar.exp()).sum(1)",
        ),
        (
            f"{CHECKS}_elbo.py",
            "flatten(1).sum(1)\n\n\ndef _squares",
            "flatten(1).mean(1)\n\n\ndef _squares",
        ),
        (f"{CHECKS}_elbo.py", "if torch.allclose(result, evidence, atol=1e-3):", "if True:"),
        (f"{CHECKS}_elbo.py", "if result > evidence", "if result < evidence"),
        (f"{CHECKS}.py", ".clamp(min=0).sum(1).mean()\n\n\nV", ".abs().sum(1).mean()\n\n\nV"),
        (f"{CHECKS}.py", "torch.eye(3), torch.full((3, 3), 1 / 3)", "torch.eye(3), torch.eye(3)"),
    ],
    "tests/test_chapter2_checks.py": [
        (f"{CHECKS2}.py", "_cost(real, 1).mean() + _cost(fake, 0).mean()\n\n\ndef", TWO_SUMS),
        (f"{CHECKS2}.py", "size = 150 + 50", "size = 0 + 1"),
        (f"{CHECKS2}.py", "passes_gradients(_losses, large, LOGITS, LOGITS)", NO_GRADIENTS),
        (f"{CHECKS2}_modes.py", "<= limit", "< limit"),
        (f"{CHECKS2}_modes.py", "count >= minimum for count", "count > minimum for count"),
        (f"{CHECKS2}_modes.py", "1, 1, 2, 3, 3, 5, 12)", "1, 1, 2, 4, 4, 5, 12)"),
        (f"{CHECKS2}_modes.py", "[[0.25, 0], [0, -0.25]]", "[[0.2, 0], [0, -0.2]]"),
        (f"{CHECKS2}_video.py", "torch.lerp(background, frame", "torch.lerp(frame, background"),
        (f"{CHECKS2}_video.py", "large = _draw_streams(3, 3)", "large = _draw_streams(3, 2)"),
        (f"{CHECKS2}_video.py", "/ mask.numel()", "/ mask[0].numel()"),
        (f"{CHECKS2}_flicker.py", "before, after: ~before & ~after", "before, after: ~before"),
        (f"{CHECKS2}_flicker.py", "torch.arange(5).remainder(2)", "torch.arange(5)"),
        (f"{CHECKS2}_flicker.py", "torch.where(busy, video, video[:, :1])", "0 * video"),
        (f"{CHECKS2}_flicker.py", ") - light\n", ") + light - 1\n"),
        (f"{CHECKS2}_iou.py", "empty: float = 1.0", "empty: float = 0.0"),
        (f"{CHECKS2}_iou.py", "predicted[0], truth[0], predicted[1] = False, False,", "truth[0] ="),
        (PROPERTIES, "for x in parts] == [True, True]", "for x in parts]"),
    ],
    "tests/test_chapter3_checks.py": [
        (f"{CHECKS3}.py", "start: int = 1,", "start: int = 0,"),
        (
            f"{CHECKS3}.py",
            "_mask(frames, lambda i, j: j >= i)",
            "_mask(frames, lambda i, j: j > i)",
        ),
        (f"{CHECKS3}_attention.py", "total.where(total > 0, 1)", "total"),
        (f"{CHECKS3}_attention.py", "lengths = 100 + 200 *", "lengths = 1 +"),
        (f"{CHECKS3}_windows.py", "else row * (width // size)", "else row * (height // size)"),
        (f"{CHECKS3}_windows.py", ".argsort()  #", "  #"),
        (f"{CHECKS3}_planted.py", "return centred / (", "return x / ("),
        (f"{CHECKS3}_planted.py", "nn.GELU(), TimeConvolution(2, 0)", "TimeConvolution(1, 1)"),
        (
            f"{CHECKS3}_planted.py",
            "TimeBatchNorm()\n        ).eval()",
            "TimeBatchNorm()\n        )",
        ),
        (f"{CHECKS3}_leaks.py", "planted.guilty, slice(1, 2)", "planted.guilty, slice(0, 1)"),
        (f"{CHECKS3}_leaks.py", "torch.random.fork_rng(devices=[])", "torch.enable_grad()"),
    ],
    "tests/test_chapter4_checks.py": [
        (f"{CHECKS4}.py", "if model.lengths == [NUM_FRAMES - 1]:", "if model.lengths:"),
        (
            f"{CHECKS4}.py",
            "passes_gradients(truth, large, CLIPS, (WEIGHTS,))",
            "passes_gradients(truth, large, CLIPS, ())",
        ),
        (f"{CHECKS4}.py", "                    Warning,\n", ""),
        (f"{CHECKS4}_models.py", "(places * (x @ older)", "((x @ older)"),
        (f"{CHECKS4}_models.py", "            state = state @ turn\n", ""),
        (PROPERTIES, "        except NotImplementedError:\n            raise\n", ""),
        (f"{CHECKS4}_rollout.py", "draw_clips(2, 2, 5, 4, 3)", "draw_clips(2, 2, 5, 4, 9)"),
        (
            f"{CHECKS4}_rollout.py",
            "spares_its_arguments(narrow, ROLLOUT)",
            "lambda candidate: None",
        ),
        (f"{CHECKS4}_cache.py", "(keys, values) if keys.shape[1] else None", "(keys, values)"),
        (f"{CHECKS4}_cache.py", "check(over(function))", "check(over(_look))"),
        (f"{CHECKS4}_looks.py", "scores.exp().tril()", "scores.exp()"),
        (f"{CHECKS4}_witness.py", "even = _draw_frames(2, 4,", "even = _draw_frames(2, 3,"),
        (f"{CHECKS4}_witness.py", "[_draw_frames(2, 3, 1, 2, 2, 4), uneven]", "[even]"),
        (f"{CHECKS4}_blocks.py", "draw_clips(3, 2, 2, 5, 4, 6)", "draw_clips(3, 2, 6, 5, 4, 6)"),
        (f"{CHECKS4}_blocks.py", "draw_clips(3, 2, 7, 6, 2, 5)", "draw_clips(3, 2, 7, 6, 2, 1)"),
    ],
    "tests/test_crossroads_levels.py": [
        (LEVELS, "rising[-1] + 1 if rising", "rising[-1] if rising"),
        (LEVELS, "levels).abs().argmin(1)", "levels).argmin(1)"),
        (LEVELS, ".flip(0).cummin(0).values.flip(0)", ".cummin(0).values"),
        (LEVELS, "end != futures.probs.argmax()", "end != 0"),
        (LEVELS, "self.there.int().argmax(0)", "self.there.int().sum(0) - 1"),
        (LEVELS, "SCHEDULE, x_T, timesteps, eta=1.0, clip=1.0", "SCHEDULE, x_T, [9], clip=1.0"),
    ],
    "tests/test_chapter5_checks.py": [
        (f"{CHECKS5}_draws.py", "share = 0.12 + 0.25 *", "share = 0.5 + 0 *"),
        (f"{CHECKS5}_draws.py", "if positive:", "if False:"),
        (f"{CHECKS5}.py", ".abs().max() < 1e-3:", ".abs().max() < 1e9:"),
        (f"{CHECKS5}_loss.py", "or t.shape != x_t.shape[:1]:", "or False:"),
        (f"{CHECKS5}_loss.py", "+ 0.7 * _each", "+ 0 * _each"),
        (f"{CHECKS5}_loss.py", "inner = 1 + torch", "inner = 1 + 0 * torch"),
        (f"{CHECKS5}_loss.py", "TRAINING, (WEIGHTS,)", "TRAINING, ()"),
        (f"{CHECKS5}_loss.py", "steps=[0, NUM_TIMESTEPS - 1]", "steps=[1, 2]"),
        (f"{CHECKS5}_loss.py", "a = table[t][:, None, None, None]", "a = _each(table[t], x0)"),
        (f"{CHECKS5}_step.py", "alphas[t] / betas[t]", "1 / betas[t]"),
        (f"{CHECKS5}_step.py", "3, 3, first=True)", "3, 3)"),
        (f"{CHECKS5}_step.py", "x_t, x0_hat, 0 * noise, *others", "x_t, x0_hat, noise, *others"),
        (f"{CHECKS5}_answers.py", "isinstance(result, tuple) and len(result) == 2", "True"),
        (f"{CHECKS5}_answers.py", "[-noise, signal]]", "[noise, signal]]"),
        (PROPERTIES, "        if torch.equal(first, second):", "        if True:"),
    ],
    "tests/test_chapter6_checks.py": [
        (f"{CHECKS6}_sigma.py", "kept / (1 - kept)).rsqrt()", "kept / (1 - kept)).rsqrt() * 1.05"),
        (f"{CHECKS6}_sigma.py", "math.isfinite(result)", "True"),
        (f"{CHECKS6}_sigma.py", "0.3 + 0.3 * c if", "1.0 + 0 * c if"),
        (f"{CHECKS6}_step.py", "alpha_bar_prev - deviation**2)", "alpha_bar_prev)"),
        (f"{CHECKS6}_step.py", "if not torch.equal(first, second):", "if False:"),
        (
            f"{CHECKS6}_step.py",
            "second = candidate(*still[:2], still[2] + 1,",
            "second = candidate(*still[:2], still[2],",
        ),
        (f"{CHECKS6}_step.py", "_draw_step(*SHAPE, prev=1.0)]", "_draw_step(*SHAPE, eta=0.0)]"),
        (f"{CHECKS6}_timesteps.py", "<= i * num_timesteps:", "< i * num_timesteps:"),
        (
            f"{CHECKS6}_timesteps.py",
            "lambda found, right: found == right, SMALL",
            "lambda found, right: len(found) == len(right), SMALL",
        ),
        (
            f"{CHECKS6}_timesteps.py",
            "if math.gcd(chain, steps) == 1 and exact:",
            "if chain % steps == 0:",
        ),
        (f"{CHECKS6}_previous.py", "[_evenly(4), _evenly(7), _draw_walk]", "[_evenly(1)]"),
        (f"{CHECKS6}_previous.py", "    if walk == [750, 500, 250]:\n", "    if True:\n"),
        (f"{CHECKS6}_invert.py", "network(x, max(s, 0)).double()", "network(x, t).double()"),
        (f"{CHECKS6}_invert.py", "if not -1 <= step < CHAIN:", "if False:"),
        (f"{CHECKS6}_invert.py", "        if not same\n", "        if False\n"),
        (f"{CHECKS6}_slerp.py", "if angle < 1e-6:", "if False:"),
        (f"{CHECKS6}_slerp.py", "second[::2] = 2 * first[::2]", "second[::2] = second[::2]"),
        (f"{CHECKS6}.py", "+ (1 - scale) * unconditional", "+ (2 - scale) * unconditional"),
        (f"{CHECKS6}.py", "drawn = 1.5 + 4 *", "drawn = 2.0 + 0 *"),
    ],
    "tests/test_chapter7_checks.py": [
        (f"{CHECKS7}.py", "tokens[:, d] * times[d]", "tokens[:, d] * by[d]"),
        (f"{CHECKS7}.py", "_draw_tokens(4, 4, 6), _draw", "_draw_tokens(1, 4, 6), _draw"),
        (f"{CHECKS7}.py", "x = 2 + 5 * torch", "x = 0 + 0 * torch"),
        (
            f"{CHECKS7}.py",
            "        if slope is None:\n",
            "        if False:\n",
        ),
        (f"{CHECKS7}_patches.py", "x[:, c, i, j] for i, j in", "x[:, c, j, i] for i, j in"),
        (
            f"{CHECKS7}_patches.py",
            "for i, j in places for c in range(channels)]",
            "for c in range(channels) for i, j in places]",
        ),
        (f"{CHECKS7}_patches.py", "rows if square else columns, patch_size", "rows, patch_size"),
        (
            f"{CHECKS7}_unpatchify.py",
            "n // side * p + place // p, n % side * p + place % p",
            "n % side * p + place // p, n // side * p + place % p",
        ),
        (
            f"{CHECKS7}_unpatchify.py",
            "[_draw_tokens(1, 2, 1, 1, 2), _draw_tokens(*sizes)]",
            "[_draw_tokens(1, 1, 2, 2, 2)]",
        ),
        (f"{CHECKS7}_scale.py", "(72, 4, 10, 12)", "(72, 4, 1, 2)"),
        (f"{CHECKS7}_scale.py", "if single and math", "if math"),
        (f"{CHECKS7}_scale.py", "return math.sqrt(math.fsum(", "return (math.fsum("),
        (f"{CHECKS7}_macs.py", "*[(1, dim, dim)] * 6,", "*[(1, dim, dim)] * 5,"),
        (f"{CHECKS7}_macs.py", "        (num_tokens, num_tokens, dim),  # weights by values\n", ""),
        (
            f"{CHECKS7}_macs.py",
            "return lambda n, d, r: 2 * count(n, d, 1) - count(n, d, 2)",
            "return count",
        ),
        (f"{CHECKS7}_macs.py", "if isinstance(result, int) and not", "if not"),
        (f"{CHECKS7}_identity.py", "    if close(result, x):\n", "    if True:\n"),
        (
            f"{CHECKS7}_identity.py",
            "        if not any(g.any() for g in own):\n",
            "        if False:\n",
        ),
        (f"{CHECKS7}_identity.py", "    if not others:\n", "    if True:\n"),
        (f"{CHECKS7}_identity.py", "    if replaced:\n", "    if False:\n"),
        (f"{CHECKS7}_identity.py", "    if frozen:\n", "    if False:\n"),
        (
            f"{CHECKS7}_identity.py",
            "nn.init.normal_(weight, std=0.4, generator=generator)",
            "nn.init.zeros_(weight)",
        ),
        (
            f"{CHECKS7}_identity.py",
            "    with torch.random.fork_rng(devices=[]):\n",
            "    if True:\n",
        ),
        (
            f"{CHECKS7}_guided.py",
            "scale * given[c] + (1 - scale) * free[c]",
            "scale * given[c] + (2 - scale) * free[c]",
        ),
        (f"{CHECKS7}_guided.py", "*given[channels:]]", "*free[channels:]]"),
        (f"{CHECKS7}_guided.py", "CHANNELS = 4  #", "CHANNELS = 3  #"),
        (
            f"{CHECKS7}_guesser.py",
            "torch.randint(1, int(no_class), (batch,)",
            "torch.randint(0, 1, (batch,)",
        ),
        (f"{CHECKS7}_guesser.py", "if not len(x) == len(t) == len(label):", "if False:"),
        (
            f"{CHECKS7}_guided.py",
            "        if not torch.equal(now, before):\n",
            "        if False:\n",
        ),
    ],
    "tests/test_trails.py": [
        ("course_lib/widgets/trails.py", "walk[-1], marker", "walk[0], marker"),
        ("course_lib/widgets/trails.py", "columns or len(walks)", "len(walks)"),
        ("course_lib/widgets/trails.py", "points.transpose(0, 1)", "points"),
    ],
    "tests/test_influence.py": [
        (INFLUENCE, "slope[0].square().sum(1)", "slope[0].sum(1).square()"),
        (INFLUENCE, "torch.randn(shape, generator=generator, **like)", "torch.ones(shape, **like)"),
        (INFLUENCE, "for chosen in reversed(each):", "for chosen in each:"),
        (INFLUENCE, 'whole_frame=norm == "frame"', "whole_frame=False"),
        (INFLUENCE, "3, stride=1, padding=1", "5, stride=1, padding=2"),
        (INFLUENCE, '"thw,ts->shw"', '"thw,st->shw"'),
        (INFLUENCE, "windows @ looks", "windows @ looks.T"),
        (INFLUENCE, 'if norm == "batch" and training and', 'if norm == "batch" and'),
        (INFLUENCE, "return model.norm(x)", "return x"),
        (INFLUENCE, ".norm(dim=1))", ".sum(1))"),
        (INFLUENCE, "return torch.zeros_like(output)", "return output"),
        (ATTENTION_COST, "tokens * num_frames", "tokens * map_size"),
        (ATTENTION_COST, "joint=2 *", "joint="),
    ],
    "tests/test_cost.py": [
        (COST, "return counter.total // 2", "return counter.total"),
        (COST, "sdpa_kernel(SDPBackend.MATH), ", ""),
        (COST, "return median(times)", "return sum(times) / len(times)"),
        (COST, "        function()  # the first", "        # the first"),
    ],
    "tests/test_vptr_exam.py": [
        (VPTR_EXAM, "exam.future).double() / 4", "exam.future).double()"),
        (VPTR_EXAM, "mse(prediction.clamp(-1, 1),", "mse(prediction,"),
        (VPTR_EXAM, "columns, rows = (corner", "rows, columns = (corner"),
        (VPTR_EXAM, "    ).amin(0)", "    ).amax(0)"),
        (VPTR_EXAM, "ink[:, :-1].square()", "ink[:, 1:].square()"),
        (
            VPTR_EXAM,
            "(found.mean(1), least.mean(1), clips)",
            "(found.mean(1), found.mean(1), clips)",
        ),
        (VPTR_EXAM, "least[:, step], clips)", "least[:, 0], clips)"),
        (VPTR_EXAM, "read[:, step].sum()", "read[:, 0].sum()"),
        (VPTR_EXAM, 'seen = world("train", size)', "seen = held_out"),
        (VPTR_EXAM, "clips.positions[:, CONTEXT:, 0]", "clips.positions[:, :HORIZON, 0]"),
    ],
    "tests/test_mask_lab.py": [
        (f"{MASK_LAB}.py", ".triu(1).nonzero()", ".triu().nonzero()"),
        (f"{MASK_LAB}.py", "            return []\n", "            pass\n"),
        (f"{MASK_LAB}.py", "row * side + column]", "column * side + row]"),
        (f"{MASK_LAB}.py", ', str(value["mask"]))', ")"),
        (f"{MASK_LAB}.py", "k * now // before.side for k", "k for k"),
        (f"{MASK_LAB}_layers.py", "step = mask | np.eye(len(mask), dtype=bool)", "step = mask"),
        (
            f"{MASK_LAB}_layers.py",
            "_first(given[number - 1][name][0])",
            "_first(given[0][name][0])",
        ),
        (f"{MASK_LAB}_layers.py", 'given[number - 1]["time"]', 'given[0]["time"]'),
        (f"{MASK_LAB}_layers.py", 'given[number - 1]["witness"]', 'given[0]["witness"]'),
        (
            f"{MASK_LAB}_layers.py",
            "model.time_code[model.config.context - length : model.config.context]",
            "model.time_code[:length]",
        ),
        (f"{MASK_LAB}_layers.py", "model.encoder_norm(x).detach()", "x.detach()"),
        (f"{MASK_LAB}_picture.py", "np.argwhere(~allowed &", "np.argwhere(allowed &"),
    ],
    "tests/test_latent_pad.py": [
        ("course_lib/widgets/latent_pad.py", "(self._y, self._x)", "(self._x, self._y)"),
        ("course_lib/widgets/latent_pad.py", "if len(set(labels)) != 2:", "if False:"),
        (
            "course_lib/widgets/latent_pad.py",
            "drawn = self._drawn | self._draw_on",
            "drawn = self._draw_on",
        ),
        ("course_lib/widgets/latent_pad.py", "frames[:, :, -1]", "frames[:, :, 0]"),
        ("course_lib/widgets/latent_pad.py", "if not 0 <= k < len(names)]", "if k >= len(names)]"),
        ("course_lib/widgets/pad_picture.py", "half = np.diff(x) / 2", "half = np.diff(x)"),
        ("course_lib/widgets/pad_picture.py", "for j in up[::-1]]", "for j in up]"),
        ("course_lib/widgets/pad_picture.py", "(np.diff(x) <= 0).any()", "(np.diff(x) < 0).any()"),
    ],
    "tests/test_svg_diagram.py": [
        ("course_lib/widgets/svg_diagram.py", ".format(t=t, p=t - 1)", ".format(t=t + 1, p=t)"),
        ("course_lib/widgets/svg_diagram.py", 'training=mode == "training"', "training=True"),
        ("course_lib/widgets/svg_sketch.py", "drawn = t + (self.stage >= 3)", "drawn = t + 1"),
        ("course_lib/widgets/svg_sketch.py", "return self.stage in (begins, 5)", "return False"),
    ],
    "tests/test_gan.py": [
        (GAN, "softplus(-real).mean() + ", "softplus(real).mean() + "),
        (GAN, "+ F.softplus(fake).mean()  #", "+ F.softplus(fake).sum()  #"),
        (GAN, "return -F.softplus(fake).mean()", "return F.softplus(fake).mean()"),
        (GAN, "return F.softplus(-fake).mean()", "return -F.softplus(fake).mean()"),
        (GAN, "return F.softplus(-fake).mean()", "return -fake.sigmoid().log().mean()"),
        (GAN, "return p / (p + q)", "return q / (p + q)"),
        (GAN, "discriminator(real).sum()", "discriminator(real).mean()"),
        (GAN, "create_graph=True", "create_graph=False"),
        (GAN, "slope.flatten(1).square().sum(1).mean()", "slope.flatten(1).norm(dim=1).mean()"),
        (GAN, "return mask.abs().mean()", "return mask.abs().sum(1).mean()"),
    ],
    "tests/test_scenes.py": [
        (SCENES, "SPEEDS = (2.0, 3.0)", "SPEEDS = (1.7, 3.0)"),
        (
            SCENES,
            "torch.minimum(uniform(*SPEEDS), longest)",
            "uniform(*SPEEDS).minimum(2 * longest)",
        ),
        (SCENES, "(free * uniform(0.0, 1.0, 2))", "(free * uniform(0.0, 0.6, 2))"),
        (SCENES, "angle.cos(), angle.sin()], -1)", "angle.cos(), angle.cos()], -1)"),
        (SCENES, "cover >= 0.5, background", "cover > 0, background"),
        (SCENES, "(dx**2 + dy**2).sqrt()", "(dx**2 + 2 * dy**2).sqrt()"),
        (SCENES, "sum(1) / pixel + 0.5", "sum(1) / pixel"),
        (SCENES, "_digits(split,", '_digits("train",'),
        (SCENES, "(pixel - centre[..., 1, None])[:, :, :, None]", "dx.transpose(2, 3)"),
        (SCENES, "/ (DIGIT / 2)", "/ (DIGIT / 1.9)"),
        (SCENES, "(torch.arange(size) + 0.5) * 32 / size - 0.5", "torch.arange(size) * 32 / size"),
        (SCENES, "uniform(0.0, 3.0).long()", "uniform(0.0, 2.0).long()"),
    ],
    "tests/test_masks.py": [
        (MASKS, "(busy[:, 1:] | busy[:, :-1])", "busy[:, 1:]"),
        (MASKS, "* 127.5", "* 255"),
        (MASKS, "abs().mean(2, keepdim=True)", "abs().sum(2, keepdim=True)"),
        (MASKS, "either > 0, 1.0", "either > 0, 0.0"),
        (MASKS, "2 * pixels + 1, stride=1, padding=pixels", "3, stride=1, padding=1"),
    ],
    "tests/test_videogan.py": [
        (VIDEOGAN, "(1 - mask) * background[:, None]", "background[:, None]"),
        (VIDEOGAN, "self.background(code if still is None else still)", "self.background(code)"),
        (VIDEOGAN, "frames << level < config.num_frames", "frames << level <= config.num_frames"),
        (VIDEOGAN, "doubles[:-1], strict", "doubles[1:], strict"),
        (VIDEOGAN, "bias, config.mask_bias)", "bias, 0.0)"),
        (VIDEOGAN, "        self.apply(initialise)\n", ""),
        (VIDEOGAN, "to_mask(features).sigmoid()", "to_mask(features).tanh()"),
        (VIDEOGAN, 'mode="bilinear"', 'mode="nearest"'),
        (VIDEOGAN, "if length >= 2**levels]", "]"),
        (READERS, "classes[:, 0] - classes[:, 1]", "classes[:, 1] - classes[:, 0]"),
        (READERS, "if norm and len(layers) > 1:", "if norm:"),
        (READERS, "eps=1e-3", "eps=1e-5"),
        (READERS, "        if norm:  #", "        if not norm:  #"),
        (READERS, "module.weight, std=0.01", "module.weight, std=0.02"),
    ],
    "tests/test_videogan_conditional.py": [
        (CONDITIONAL, "drawn[:, self.config.context :]", "drawn"),
        (CONDITIONAL, "context.flatten(1, 2)", "context.transpose(1, 2).flatten(1, 2)"),
        (CONDITIONAL, "torch.cat([h, noise], 1)", "torch.cat([noise, h], 1)"),
        (CONDITIONAL, "latent_dim, generator=generator)", "latent_dim)"),
        (CONDITIONAL, "from_map=True", "from_map=False"),
    ],
    "tests/test_detector.py": [
        (DETECTOR, "> 0).unflatten", "> 0.5).unflatten"),
        (DETECTOR, "torch.cat([fine, coarse], 1)", "torch.cat([fine, 0 * coarse], 1)"),
    ],
    "tests/test_videogan_recipes.py": [
        (ADVERSARY, "config.adversary_from - HEAD_START, 0", "config.adversary_from, 0"),
        (ADVERSARY, "config.r1 / 2 * config.r1_every", "config.r1 / 2"),
        (ADVERSARY, "or step % config.r1_every:", "or (step + 1) % config.r1_every:"),
        (SCENE_EXAM, ">= SMALLEST", "> SMALLEST"),
        (VIDEOGAN_RECIPE, "if step >= config.prior_from:", "if step > config.prior_from:"),
        (VIDEOGAN_RECIPE, "(step + 1) / config.kl_ramp", "step / config.kl_ramp"),
        (VIDEOGAN_RECIPE, "num // 2 if config.reconstruction else num", "num // 2"),
        (VIDEOGAN_EXAM, "grow(found if known is None else found | known)", "found"),
        (VIDEOGAN_EXAM, "return mean + noise @ root.T", "return mean + noise @ root"),
        (VIDEOGAN_EXAM, "z = mean + sigma * torch.randn", "z = mean + 0 * torch.randn"),
        (VIDEOGAN_EXAM, "= drawn.mask * 2 - 1,", "= drawn.mask,"),
        (VIDEOGAN_EXAM, "scenes.mask.roll(1, 0)", "scenes.mask"),
        (VIDEOGAN_ROLES, "drawn.background[:, None]", "drawn.video"),
        (VIDEOGAN_SWEEP, "model.load_state_dict(main_model().state_dict())", "main_model()"),
        (VIDEOGAN_SWEEP, 'torch.zeros_like(batch["video"])', 'batch["video"]'),
        (VIDEOGAN_STREET, "len(strip) - SPAN + 1, SPAN)", "len(strip) - SPAN + 1, SPAN - 1)"),
        (VIDEOGAN_STREET, 'load_strip("train"), config.batch_size', 'load_strip("test"), 16'),
        (VIDEOGAN_CROSSING, "drawn[:, given], video[:, given]", "drawn, video"),
        (VIDEOGAN_CROSSING, "turn_probs) < 1]", "turn_probs) <= 1]"),
    ],
    "tests/test_attention.py": [
        (ATTENTION, "device=device).tril()", "device=device).tril(1)"),
        (ATTENTION, "math.sqrt(queries.shape[-1])", "math.sqrt(query.shape[-1])"),
        (ATTENTION, "places[:, None] - places[None]", "places[None] - places[:, None]"),
        (ATTENTION, "torch.arange(1, length + 1)", "torch.arange(length)"),
        (ATTENTION, "(a b) (k l) d -> ... (a k) (b l) d", "(a b) (l k) d -> ... (a k) (b l) d"),
        (ATTENTION, "[self.keys, newer.keys]", "[newer.keys, self.keys]"),
    ],
    "tests/test_reconstruction.py": [
        (RECONSTRUCTION, "(target.diff(dim=dim).abs()", "(target.diff(dim=dim)"),
        (RECONSTRUCTION, ".pow(alpha).mean()", ".pow(alpha).sum()"),
    ],
    "tests/test_autoencoder.py": [
        (AUTOENCODER, "super().__init__(*layers, nn.ReLU())", "super().__init__(*layers)"),
        (AUTOENCODER, "stride = 2 if level < len(dims) else 1", "stride = 2"),
    ],
    "tests/test_vidhrformer.py": [
        (BLOCKS, "asking = tokens + self.code", "asking = tokens = tokens + self.code"),
        (
            BLOCKS,
            "self.attention.remember(asking, tokens)",
            "self.attention.remember(tokens, tokens)",
        ),
        (
            BLOCKS,
            "return self.attention.remember(tokens + code, tokens)",
            "return self.attention.remember(tokens + code, tokens + code)",
        ),
        (BLOCKS, "nn.GELU(),  # after", "nn.Identity(),  # after"),
        (BLOCKS, "branch.new_ones(len(branch), 1, 1, 1, 1)", "torch.ones_like(branch)"),
        (BLOCKS, "witness(x) if queries is None else witness(x) + queries", "witness(x)"),
        (
            BLOCKS,
            "nn.LayerNorm([channels, config.map_size, config.map_size])",
            "nn.BatchNorm2d(channels)",
        ),
    ],
    "tests/test_vptr.py": [
        (
            FAR,
            "causal_mask(end, device=device)[start:]",
            "causal_mask(end, device=device)[: end - start]",
        ),
        (
            FAR,
            "self.time_code[start:end], past=before",
            "self.time_code[: end - start], past=before",
        ),
        (FAR, "features.shape[1] > self.config.window:", "False:"),
        (FAR, 'replace(_BLOCK, norm="frame")', 'replace(_BLOCK, norm="layer")'),
        (NAR_PAR, "code = self.time_code[length - features.shape[1] : length]", CODES_FROM_1),
        (NAR_PAR, "blank = torch.zeros_like(queries)", "blank = queries"),
        (NAR_PAR, "first = self.config.context - 1 + start", "first = self.config.context + start"),
        (NAR_PAR, "fed if state.past else", "fed if True else"),
        (NAR_PAR, "memory[number], queries=queries", "memory[0], queries=queries"),
    ],
    "tests/test_eta_sheets.py": [
        (ETA_SHEETS, "[*timesteps[1:], -1], strict=True)", "[*timesteps[1:], 0], strict=True)"),
        (ETA_SHEETS, "noise, alpha_bar, before, eta)", "noise, before, alpha_bar, eta)"),
        (ETA_SHEETS, "        noise = noise_like(x_t, generator)\n", "        noise = 0 * x_t\n"),
        (
            ETA_SHEETS,
            "estimate(denoise, schedule, x_t, t, clip)",
            "estimate(denoise, schedule, x_t, t, None)",
        ),
        (ETA_SHEETS, "        x_t = x_prev\n", ""),
        (ETA_SHEETS, "if not x_prev.isfinite().all()", "if False"),
        (ETA_SHEETS, "if x_prev.shape != x_t.shape", "if False"),
        (ETA_SHEETS, '"s c h w -> (k s) c h w"', '"s c h w -> (s k) c h w"'),
        (ETA_SHEETS, "repeat_interleave(NUM_SEEDS)", "repeat(NUM_SEEDS)"),
        (
            ETA_SHEETS,
            "torch.stack([step.x_t, step.x0_hat])",
            "torch.stack([step.x0_hat, step.x_t])",
        ),
        (ETA_SHEETS, "larger_noise=place == SIGMA_HAT", "larger_noise=False"),
        (
            ETA_SHEETS,
            "(first.float() - second.float()) / 127.5",
            "(first.float() - second.float()) / 255",
        ),
        (ETA_SHEETS, '"(k h) (n w) -> (k n) h w", h=SIZE', '"(k h) (n w) -> (n k) h w", h=SIZE'),
        (
            ETA_SHEETS,
            '"(r h) (c w) -> (r c) h w", h=HEIGHT',
            '"(r h) (c w) -> (c r) h w", h=HEIGHT',
        ),
    ],
    "tests/test_eta_inversion.py": [
        (ETA_INVERSION, "timesteps[::-1], SCHEDULE", "timesteps, SCHEDULE"),
        (ETA_INVERSION, "eta=eta, generator=generator", "generator=generator"),
        (
            ETA_INVERSION,
            "denoise(x, torch.full((len(x),), t)).eps_hat",
            "denoise(x, torch.full((len(x),), t)).x0_hat",
        ),
        (ETA_INVERSION, "(pictures - truth) / 2", "(pictures - truth)"),
        (ETA_INVERSION, "value=-1.0", "value=0.0"),
        (ETA_INVERSION, "images, label, num_steps)", "images, label, num_steps + 1)"),
    ],
    "tests/test_eta_lab.py": [
        (ETA_LAB, "num_steps > SLOWEST", "False"),
        (ETA_LAB, "knob not in ETAS or", "False or"),
        (ETA_LAB, "knob, num_steps, self._step)", "knob, num_steps)"),
        (
            ETA_LAB,
            "final, strips = self._final.copy(), self._strips.copy()",
            "final, strips = self._stored.copy(), self._walks.copy()",
        ),
        (ETA_LAB, "columns * rows + np.array", "np.array"),
        (ETA_LAB, "self._drawn_by[places] = (", "self._drawn_by[:] = ("),
        (ETA_LAB, "self.progress = number / total", "self.progress = number"),
        (ETA_LAB, "        finally:\n            self.progress = 1.0\n", ""),
        (ETA_LAB, "np.where(share > 0, MORE, LESS)", "np.where(share > 0, LESS, MORE)"),
        (ETA_LAB, "number * (number - 1)", "number**2"),
        (
            ETA_LAB,
            "self._final, self._final[:1])\n        apart",
            "self._final, self._stored[:1])\n        apart",
        ),
        (ETA_LAB, '(c n) (e s) 1 h w"', '(n c) (e s) 1 h w"'),
    ],
    "tests/test_vptr_video.py": [
        (VPTR_VIDEO, "        self.autoencoder.eval()\n", ""),
        (VPTR_VIDEO, "if rollout.through_pixels else features", "if False else features"),
        (VPTR_VIDEO, "autoencoder.requires_grad_(False)", "autoencoder"),
    ],
    "tests/test_dit.py": [
        (DIT, "[columns, rows], -1", "[rows, columns], -1"),
        (DIT, "[angles.sin(), angles.cos()]", "[angles.cos(), angles.sin()]"),
        (DIT, "[angles.cos(), angles.sin()]", "[angles.sin(), angles.cos()]"),
        (DIT, "half, device=t.device) / half)", "half, device=t.device) / (half - 1))"),
        (DIT, "x * (1 + scale[:, None])", "x * scale[:, None]"),
        (DIT, "elementwise_affine=False, eps=1e-6", "elementwise_affine=False, eps=1e-5"),
        (DIT, 'nn.GELU("tanh")', "nn.GELU()"),
        (DIT, "x = x + gate1[:, None] * self", "x = x + gate2[:, None] * self"),
        (DIT, '-> b (h w) (p q c)", p=patch', '-> b (h w) (c p q)", p=patch'),
        (DIT, "nn.init.zeros_(module.modulation.weight)", "pass"),
        (DIT, "nn.init.zeros_(self.final.to_patches.weight)", "pass"),
        (DIT, "seen = torch.cat([context, x_t], 1)", "seen = torch.cat([x_t, 0 * context], 1)"),
    ],
    "tests/test_dit_variants.py": [
        (DIT_VARIANTS, "(1152, 28, 16)", "(1152, 27, 16)"),
        (DIT_VARIANTS, "+ model.positions.numel()", ""),
        (DIT_VARIANTS, 'if self.conditioning != "adaLN":', "if True:"),
        (DIT_VARIANTS, "torch.cat([tokens, sequence], 1)", "torch.cat([tokens, 0 * sequence], 1)"),
        (DIT_VARIANTS, "self.final(tokens[:, :num_tokens])", "self.final(tokens[:, -num_tokens:])"),
        (DIT_VARIANTS, '"b k (two a d) -> two', '"b k (a two d) -> two'),
        (DIT_VARIANTS, "        self._initialise()\n", ""),
    ],
    "tests/test_latent_dit.py": [
        (LATENT_DIT, "context.flatten(1, 2), c.patch", "(0 * context).flatten(1, 2), c.patch"),
        (LATENT_DIT, "[:, : future.shape[1]]", "[:, future.shape[1] :]"),
        (LATENT_DIT, "return self.mean + answer", "return answer"),
    ],
    "tests/test_autoencoder_kl.py": [
        (AUTOENCODER_KL, "(0, 1, 0, 1)), nn", "(1, 0, 1, 0)), nn"),
        (AUTOENCODER_KL, "LOGVAR_LIMITS = (-30.0, 20.0)", "LOGVAR_LIMITS = (-20.0, 30.0)"),
        (AUTOENCODER_KL, "range(config.num_blocks + 1)", "range(config.num_blocks)"),
        (AUTOENCODER_KL, "mean, logvar = self.encoder", "logvar, mean = self.encoder"),
        (AUTOENCODER_KL, "posterior.mean + posterior.sigma * eps", "posterior.mean + eps"),
        (AUTOENCODER_KL, "return x + self.out(got)", "return self.out(got)"),
        (AUTOENCODER_KL, "2 ** (len(self.dims) - 1)", "2 ** len(self.dims)"),
    ],
    "tests/test_latent.py": [
        (LATENT, "(x_hat - x).square()", "(x_hat - x).abs()"),
        (LATENT, "return 1 / spread", "return spread"),
        (LATENT, "latents / self.scale)", "latents)"),
        (LATENT, "return self.scale * _each", "return _each"),
        (LATENT, "latents = self.space.encode(context)", "latents = self.space.encoder(context)"),
        (LATENT, "plain = replace(self, scale=1.0)", "plain = self"),
        (LATENT, "KL_WEIGHT = 1e-6", "KL_WEIGHT = 1e-4"),
        (LATENT, "kl.flatten(1).sum(1) / x[0]", "kl.flatten(1).mean(1) / x[0]"),
        (LATENT, "closer = error.detach() < least", "closer = error.detach() < torch.inf"),
        (LATENT, "z = start.detach().clone()", "z = start.detach()"),
    ],
    "tests/test_latent_recipes.py": [
        (LATENT_RECIPE, "along + OUT * clips.turn", "along + clips.turn"),
        (LATENT_RECIPE, ") * clips.returned[:, None]", ")"),
        (LATENT_RECIPE, "clamp(1 - UP, OUT)", "clamp(1 - UP, OUT + 1)"),
    ],
    "tests/test_dit_recipes.py": [
        (CONDITIONING_RECIPE, "gates[2], gates[5]", "gates[0], gates[3]"),
        (CONDITIONING_RECIPE, "seed=seed,", "seed=0,"),
    ],
    "tests/test_unet.py": [
        (UNET, "[angles.sin(), angles.cos()]", "[angles.cos(), angles.sin()]"),
        (UNET, "/ (half - 1)", "/ half"),
        (UNET, "self.time(F.silu(time))", "self.time(time)"),
        (UNET, "F.pad(x, (0, 1, 0, 1))", "F.pad(x, (1, 0, 1, 0))"),
        (UNET, 'mode="nearest"', 'mode="bilinear"'),
        (UNET, '".out.weight", ', ""),
        (UNET, "torch.cat([h, skips.pop()], 1)", "torch.cat([skips.pop(), h], 1)"),
        (UNET, "torch.cat([h, skips.pop()], 1)", "torch.cat([h, 0 * skips.pop()], 1)"),
        (UNET, "return self.shortcut(x) + h", "return self.shortcut(x) + 0.7 * h"),
        (UNET, "self.dropout(F.silu(self.norm2(h)))", "F.silu(self.norm2(h))"),
        (UNET, "return x + rearrange(got", "return rearrange(got"),
    ],
    "tests/test_toy_diffusion.py": [
        (
            TOY_DIFFUSION,
            "    table = table.float()\n",
            "    table = SCHEDULE.alphas_cumprod.float()\n",
        ),
        (TOY_DIFFUSION, "            paid.clear()\n", ""),
        (TOY_DIFFUSION, "copy.deepcopy(network).eval()", "network"),
        (TOY_DIFFUSION, "self.levels[t][:, None]", "0 * self.levels[t][:, None]"),
        (TOY_DIFFUSION, "torch.randint(len(table),", "torch.randint(len(table) // 2,"),
        (TOY_DIFFUSION, "size - 1 - row", "row"),
        (TOY_DIFFUSION, "((real, 175), (points, 0))", "((points, 0), (real, 175))"),
        (TOY_DIFFUSION, "back = -denoise", "back = denoise"),
        (TOY_DIFFUSION, 'indexing="xy"', 'indexing="ij"'),
        (TOY_DIFFUSION, "length.clamp(max=2)", "length"),
    ],
}


def tests_pass(tree: Path, test_file: str) -> bool:
    """Run one test file of the copied tree, which stands first on the import path."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test_file]
    return subprocess.run(command, cwd=tree, capture_output=True, check=False).returncode == 0


def plant(tree: Path, test_file: str, file: str, original: str, faulty: str) -> bool:
    """Whether the tests catch this fault; the copy is mended afterwards."""
    path = tree / file
    text = path.read_text(encoding="utf-8")
    if text.count(original) != 1:
        raise ValueError(
            f"{original!r} occurs {text.count(original)} times in {file}; once is needed"
        )
    path.write_text(text.replace(original, faulty), encoding="utf-8")
    caught = not tests_pass(tree, test_file)
    path.write_text(text, encoding="utf-8")
    return caught


def main() -> int:
    """Plant the faults whose file name holds the first argument; the number that survived."""
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        for test_file, rows in FAULTS.items():
            rows = [row for row in rows if part in row[0]]
            if rows and not tests_pass(tree, test_file):
                raise RuntimeError(f"{test_file} fails before any fault is planted")
            for file, original, faulty in rows:
                caught = plant(tree, test_file, file, original, faulty)
                survived += not caught
                verdict = "caught  " if caught else "SURVIVED"
                print(f"{verdict} {file}: {original!r} -> {faulty!r}", flush=True)
    print(f"{survived} survived")
    return survived


if __name__ == "__main__":
    sys.exit(min(main(), 1))
