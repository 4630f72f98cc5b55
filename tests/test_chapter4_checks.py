"""Every checker of chapter 4 is checked: right answers pass, wrong ones get their message."""

import math
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from checked import CheckedChapter

from course_lib.checks import chapter4 as check
from course_lib.checks.properties import agrees


@pytest.fixture(autouse=True)
def reader(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))


# Teacher forcing.


def teacher_forced_loss(model, features):
    return F.mse_loss(model(features[:, :-1]), features[:, 1:])


def loss_by_hand(model, features):
    inputs, targets = features.split([features.shape[1] - 1, 1], 1)[0], features[:, 1:]
    misses = (targets - model(inputs)).flatten()
    return torch.dot(misses, misses) / len(misses)


def forced(outputs, targets, reduce=torch.mean):
    return lambda model, x: reduce((outputs(model, x) - targets(x)) ** 2)


def frame_by_frame(model, x):
    errors = [F.mse_loss(model(x[:, :t])[:, -1], x[:, t]) for t in range(1, x.shape[1])]
    return torch.stack(errors).mean()


def loss_of_a_rollout(model, x):
    return F.mse_loss(rollout(model, x[:, :1], x.shape[1] - 1, 99), x[:, 1:])


def loss_in_place(model, x):
    loss = teacher_forced_loss(model, x)
    x -= x.mean()
    return loss


def usual(model, x):
    return model(x[:, :-1])


LOSSES = {
    "the frame that it was made from: output i": forced(usual, lambda x: x[:, :-1]),
    "all outputs with all inputs": forced(lambda model, x: model(x), lambda x: x),
    "shifted the wrong way": forced(lambda model, x: model(x[:, 1:]), lambda x: x[:, :-1]),
    "You dropped the first output": forced(lambda model, x: model(x)[:, 1:], lambda x: x[:, 1:]),
    "You showed the model the last frame": forced(
        lambda model, x: model(x)[:, :-1], lambda x: x[:, 1:]
    ),
    "two sizes that differ by one": lambda model, x: ((model(x) - x[:, 1:]) ** 2).mean(),
    "T inputs give T predictions": lambda model, x: F.mse_loss(model(x), x[:, 1:]),
    "the last frame alone": forced(lambda model, x: usual(model, x)[:, -1], lambda x: x[:, -1]),
    "own predictions": loss_of_a_rollout,
    "summed the squares": forced(usual, lambda x: x[:, 1:], torch.sum),
    "the clips alone": lambda model, x: (
        (usual(model, x) - x[:, 1:]).square().flatten(1).sum(1).mean()
    ),
    "summed over the frames": forced(
        usual, lambda x: x[:, 1:], lambda e: e.mean((0, 2, 3, 4)).sum()
    ),
    "You divided by T": lambda model, x: (
        teacher_forced_loss(model, x) * (x.shape[1] - 1) / x.shape[1]
    ),
    "absolute values": lambda model, x: F.l1_loss(usual(model, x), x[:, 1:]),
    "square root": lambda model, x: teacher_forced_loss(model, x) ** 0.5,
    "The mean of the squared difference": lambda model, x: teacher_forced_loss(model, x) / 2,
    "needs no loop": frame_by_frame,
    "gradient of `model.weights`": lambda model, x: teacher_forced_loss(model, x).detach(),
    "One mean over clips": lambda model, x: (usual(model, x) - x[:, 1:]) ** 2,
    "write into their argument": loss_in_place,
}


# Rollout.


def rollout(model, context, horizon, window):
    seen, predicted = context[:, -window:], []
    for _ in range(horizon):
        predicted.append(model(seen)[:, -1:])
        seen = torch.cat([seen, predicted[-1]], 1)[:, -window:]
    return torch.cat(predicted, 1)


def rollout_in_a_buffer(model, context, horizon, window):
    """Written in place of zeros, in one tensor of all frames."""
    length = context.shape[1]
    frames = context.new_zeros(len(context), length + horizon, *context.shape[2:])
    frames[:, :length] = context
    with torch.no_grad():
        for t in range(length, length + horizon):
            frames[:, t] = model.eval()(frames[:, max(t - window, 0) : t])[:, -1]
    return frames[:, length:]


def rolled(show=lambda known, new: torch.cat([known, new], 1), cut=None, output=slice(-1, None)):
    """A rollout with its own way to show, to cut and to take the output."""

    def wrong(model, context, horizon, window):
        keep = cut or (lambda known, size: known[:, -size:])
        known, predicted = context, []
        for _ in range(horizon):
            predicted.append(model(keep(known, window))[:, output])
            known = show(known, predicted[-1])
        return torch.cat(predicted, 1)

    return wrong


def old_ones_reversed(known):
    return torch.cat([known[:, :-1].flip(1), known[:, -1:]], 1)


def fed_by(new_frame):
    """A rollout that appends something else than its prediction."""

    def wrong(model, context, horizon, window):
        seen, predicted = context, []
        for _ in range(horizon):
            predicted.append(model(seen[:, -window:])[:, -1:])
            seen = torch.cat([seen, new_frame(context)], 1)
        return torch.cat(predicted, 1)

    return wrong


def all_outputs_back(model, context, horizon, window):
    seen, predicted = context[:, -window:], []
    for _ in range(horizon):
        seen = model(seen)
        predicted.append(seen[:, -1:])
    return torch.cat(predicted, 1)


def cut_at_the_end_alone(model, context, horizon, window):
    seen, predicted = context, []
    for _ in range(horizon):
        predicted.append(model(seen)[:, -1:])
        seen = torch.cat([seen, predicted[-1]], 1)[:, -window:]
    return torch.cat(predicted, 1)


def cut_once(model, context, horizon, window):
    return rolled(cut=lambda known, size: known)(model, context[:, -window:], horizon, window)


def with_context(model, context, horizon, window):
    return torch.cat([context, rollout(model, context, horizon, window)], 1)


def what_was_seen(model, context, horizon, window):
    seen = context
    for _ in range(horizon):
        output = model(seen[:, -window:])
        seen = torch.cat([seen, output[:, -1:]], 1)
    return output


def predictions_alone(model, context, horizon, window):
    known, predicted = context, []
    for _ in range(horizon):
        predicted.append(model(known[:, -window:])[:, -1:])
        known = torch.cat(predicted, 1)
    return known


def rollout_in_place(model, context, horizon, window):
    answer = rollout(model, context, horizon, window)
    context[:, 0] = answer[:, -1]
    return answer


ROLLOUTS = {
    "You returned the context, too": with_context,
    "One frame too many": lambda m, c, h, w: with_context(m, c, h, w)[:, -h - 1 :],
    "One frame is missing": lambda m, c, h, w: rollout(m, c, h, w)[:, 1:],
    "new first axis": lambda m, c, h, w: torch.stack(rollout(m, c, h, w).unbind(1)),
    "axis of length 1": lambda m, c, h, w: rollout(m, c, h, w)[:, :, None],
    "what the model saw last": what_was_seen,
    "`horizon` frames of the model's": lambda m, c, h, w: rollout(m, c, h, w).mean(1),
    "the context again at every step": rolled(show=lambda known, new: known),
    "the model's first output": rolled(output=slice(1)),
    "the newest frame alone": rolled(show=lambda known, new: new, cut=lambda k, w: k[:, -1:]),
    "its predictions alone": predictions_alone,
    "fed all outputs back": all_outputs_back,
    "before the others": rolled(show=lambda known, new: torch.cat([new, known], 1)),
    "last frame of the context again": fed_by(lambda context: context[:, -1:]),
    "first frame of the context again": fed_by(lambda context: context[:, :1]),
    "at every step: drop it only": rolled(
        show=lambda known, new: torch.cat([known[:, 1:], new], 1)
    ),
    "first frame is the second": lambda m, c, h, w: rollout(m, c, h + 1, w)[:, 1:],
    "begin with the context's": lambda m, c, h, w: with_context(m, c, h, w)[:, :h],
    "come a step late": lambda m, c, h, w: with_context(m, c, h, w)[:, -h - 1 : -1],
    "append its last output, and so on": lambda *inputs: rollout(*inputs).relu(),
    "Show the model all that is known": rolled(cut=lambda known, size: old_ones_reversed(known)),
    "kept the oldest frames": rolled(cut=lambda known, size: known[:, :size]),
    "never dropped a frame": rolled(cut=lambda known, size: known),
    "cut the context once": cut_once,
    "first look is at the whole context": cut_at_the_end_alone,
    "a frame too long": rolled(cut=lambda known, size: known[:, -size - 1 :]),
    "a frame too short": rolled(cut=lambda known, size: known[:, -max(1, size - 1) :]),
    "keep the newest frames": rolled(cut=lambda known, size: known[:, -size:][:, ::2]),
    "write into their argument": rollout_in_place,
}


# Attention with a cache.


def attend_with_cache(query, key, value, cache):
    if cache is not None:
        key, value = torch.cat([cache[0], key], 1), torch.cat([cache[1], value], 1)
    weights = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)
    return weights @ value, (key, value)


def attend_by_sums(query, key, value, cache):
    """Old and new apart, weighed by how much each counts."""
    if cache is None:
        return value.clone(), [key, value]
    keys, values = cache
    d = query.shape[2]
    old = torch.einsum("bd,bmd->bm", query[:, 0], keys).div(d**0.5).exp()
    new = (query * key).sum(2).div(d**0.5).exp()
    total = old.sum(1, keepdim=True) + new
    output = (torch.einsum("bm,bmd->bd", old, values) + new * value[:, 0]) / total
    return output[:, None], [torch.hstack([keys, key]), torch.hstack([values, value])]


def looked(weights=lambda s: s.softmax(-1), scale=lambda q, keys: math.sqrt(q.shape[-1])):
    """With another softmax or another scale."""

    def wrong(query, key, value, cache):
        _, (keys, values) = attend_with_cache(query, key, value, cache)
        return weights(query @ keys.mT / scale(query, keys)) @ values, (keys, values)

    return wrong


def seen_as(change):
    """With other arguments in its look; the cache is right."""

    def wrong(query, key, value, cache):
        _, kept = attend_with_cache(query, key, value, cache)
        return attend_with_cache(*change(query, key, value, cache))[0], kept

    return wrong


def appended_late(query, key, value, cache):
    if cache is None:
        return value, (key, value)
    output = F.scaled_dot_product_attention(query, *cache)
    return output, attend_with_cache(query, key, value, cache)[1]


def kept_as(change):
    """With another cache; the look is right."""

    def wrong(query, key, value, cache):
        output, kept = attend_with_cache(query, key, value, cache)
        return output, change(query, key, value, cache or (key[:, :0], value[:, :0]), output, kept)

    return wrong


def appended_with(first, second):
    return kept_as(
        lambda q, k, v, old, out, kept: (
            torch.cat([old[0], first(q, k, v, out)], 1),
            torch.cat([old[1], second(q, k, v, out)], 1),
        )
    )


def in_the_old_cache(query, key, value, cache):
    answer = attend_with_cache(query, key, value, cache)
    if cache is not None:
        cache[0][:] = cache[0].roll(-1, 1)
        cache[1][:, -1:] = value
    return answer


def swapped(query, key, value, cache):
    return query, value, key, cache and cache[::-1]


def appended_twice(query, key, value, cache):
    _, cache = attend_with_cache(query, key, value, cache)
    return query, key, value, cache


def short_memory(query, key, value, cache):
    output, (keys, values) = attend_with_cache(query, key, value, cache)
    return output, (keys[:, -3:], values[:, -3:])


LOOKS = {
    "The next token needs the longer cache": lambda *inputs: attend_with_cache(*inputs)[0],
    "The cache is one thing": lambda *inputs: (
        attend_with_cache(*inputs)[0],
        *attend_with_cache(*inputs)[1],
    ),
    "keep the axis of length 1": lambda *inputs: (
        attend_with_cache(*inputs)[0][:, 0],
        attend_with_cache(*inputs)[1],
    ),
    "Both have the shape": kept_as(lambda q, k, v, old, out, kept: torch.cat(kept, 2)),
    "comes with `None`": lambda q, k, v, cache: attend_with_cache(q, k, v, (cache[0], cache[1])),
    "nobody to look at but itself": lambda q, k, v, cache: (
        (0 * v, (k, v)) if cache is None else attend_with_cache(q, k, v, cache)
    ),
    "left out of its own look": appended_late,
    "sees itself alone": seen_as(lambda q, k, v, cache: (q, k, v, None)),
    "sqrt(d) is missing": looked(scale=lambda q, keys: 1),
    "You divided by d": looked(scale=lambda q, keys: q.shape[-1]),
    "root of the number of keys": looked(scale=lambda q, keys: keys.shape[1] ** 0.5),
    "every weight becomes 1": looked(lambda scores: scores.softmax(1)),
    "runs over the batch": looked(lambda scores: scores.softmax(0)),
    "swapped: the scores": seen_as(swapped),
    "You mixed the keys": seen_as(lambda q, k, v, cache: (q, k, k, cache and [cache[0]] * 2)),
    "the query asks": seen_as(lambda q, k, v, cache: (k, k, v, cache)),
    "left out the softmax": looked(lambda scores: scores),
    "appended in place of one": seen_as(appended_twice),
    "softmax over all": lambda *inputs: (
        attend_with_cache(*inputs)[0] + 1,
        attend_with_cache(*inputs)[1],
    ),
    "missing from the cache: return": kept_as(lambda q, k, v, old, out, kept: old),
    "grows by one": kept_as(lambda q, k, v, old, out, kept: (k, v)),
    "before the old ones": kept_as(
        lambda q, k, v, old, out, kept: (torch.cat([k, old[0]], 1), torch.cat([v, old[1]], 1))
    ),
    "the keys come first": kept_as(lambda q, k, v, old, out, kept: kept[::-1]),
    "You kept the query": appended_with(lambda q, k, v, out: q, lambda q, k, v, out: v),
    "You kept the output": appended_with(lambda q, k, v, out: k, lambda q, k, v, out: out),
    "appended it twice": kept_as(
        lambda q, k, v, old, out, kept: attend_with_cache(q, k, v, kept)[1]
    ),
    "dropped the oldest": kept_as(
        lambda q, k, v, old, out, kept: [x[:, min(1, old[0].shape[1]) :] for x in kept]
    ),
    "and so with the values": kept_as(lambda q, k, v, old, out, kept: (kept[0], kept[1] + 1)),
    "try another future": in_the_old_cache,
    "from nothing else": short_memory,
}


# Questions to the context.


def ask_the_witness(queries, keys, values):
    b, n, h, w, d = queries.shape
    q, k, v = (x.permute(0, 2, 3, 1, 4).reshape(b * h * w, -1, d) for x in (queries, keys, values))
    answers = (q @ k.mT / math.sqrt(d)).softmax(-1) @ v
    return answers.reshape(b, h, w, n, d).permute(0, 3, 1, 2, 4)


def ask_by_letters(queries, keys, values):
    scores = torch.einsum("bnxyd,blxyd->bnlxy", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bnlxy,blxyd->bnxyd", torch.softmax(scores, dim=2), values)


def asked(weights=lambda s: s.softmax(2), scale=lambda q, k: q.shape[-1] ** 0.5):
    """With another softmax or another scale."""

    def wrong(q, k, v):
        scores = torch.einsum("bnxyd,blxyd->bnlxy", q, k) / scale(q, k)
        return torch.einsum("bnlxy,blxyd->bnxyd", weights(scores), v)

    return wrong


def asked_flat(flatten):
    """As if this made sequences of all three."""

    def wrong(q, k, v):
        return F.scaled_dot_product_attention(*map(flatten, (q, k, v))).reshape(q.shape)

    return wrong


def with_one_score(q, k, v):
    scores = torch.einsum("bnxyd,blxyd->bnl", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bnl,blxyd->bnxyd", scores.softmax(-1), v)


def with_one_letter(q, k, v):
    """Runs only where N and L are equal; what it then gives is right."""
    if q.shape[1] != k.shape[1]:
        raise RuntimeError("einsum(): subscript n has size 4 which does not broadcast with 3")
    return ask_the_witness(q, k, v)


def for_as_many(q, k, v):
    """Shows every question the first N memories."""
    return ask_the_witness(q, k[:, : q.shape[1]], v[:, : q.shape[1]])


def ask_in_place(q, k, v):
    answer = ask_the_witness(q, k, v)
    q /= q.shape[-1] ** 0.5
    return answer


QUESTIONS = {
    "places come before the frames": lambda *a: ask_the_witness(*a).permute(0, 2, 3, 1, 4),
    "still in one piece": lambda *a: ask_the_witness(*a).flatten(2, 3),
    "beside the batch: bring": lambda *a: ask_the_witness(*a).permute(0, 2, 3, 1, 4).flatten(0, 2),
    "As many frames, places": lambda *a: ask_the_witness(*a).sum(-1),
    "all places of all frames": asked_flat(lambda x: x.flatten(1, 3)),
    "asked the places of one frame": asked_flat(lambda x: x.flatten(2, 3)),
    "without `permute`": asked_flat(lambda x: x.reshape(-1, x.shape[1], x.shape[-1])),
    "share one score": with_one_score,
    "sqrt(d) is missing": asked(scale=lambda q, k: 1),
    "You divided by d": asked(scale=lambda q, k: q.shape[-1]),
    "root of the number of frames": asked(scale=lambda q, k: k.shape[1] ** 0.5),
    "runs over the queries": asked(lambda scores: scores.softmax(1)),
    "runs over the places": asked(lambda scores: scores.flatten(3).softmax(3).view_as(scores)),
    "applied a causal mask": asked(
        lambda s: (
            s.movedim((1, 2), (3, 4))
            .masked_fill(~torch.ones(s.shape[1:3]).tril().bool(), -math.inf)
            .softmax(-1)
            .movedim((3, 4), (1, 2))
        )
    ),
    "left out the softmax": asked(lambda scores: scores),
    "You mixed the keys": lambda q, k, v: ask_the_witness(q, k, k),
    "scores are made with the keys": lambda q, k, v: ask_the_witness(q, v, k),
    "questions go unheard": asked(lambda scores: torch.ones_like(scores) / scores.shape[2]),
    "Put h and w beside the batch": lambda *a: ask_the_witness(*a).flip(2, 3),
    "needs two letters for them": with_one_letter,
    "N questions, L memories": for_as_many,
    "gradient of `queries`": lambda q, k, v: ask_the_witness(q.detach(), k, v),
    "gradient of `keys`": lambda q, k, v: ask_the_witness(q, k.detach(), v),
    "gradient of `values`": lambda q, k, v: ask_the_witness(q, k, v.detach()),
    "write into their argument": ask_in_place,
}


# Blocks.


def predict_in_blocks(model, context, horizon, block, overlap):
    known, blocks = context, []
    for _ in range(math.ceil(horizon / block)):
        blocks.append(model(known[:, -overlap:])[:, :block])
        known = torch.cat([known, blocks[-1]], 1)
    return torch.cat(blocks, 1)[:, :horizon]


def blocks_in_a_buffer(model, context, horizon, block, overlap):
    """No more than is needed is ever kept."""
    start = context.shape[1]
    frames = torch.empty(len(context), start + horizon, *context.shape[2:])
    frames[:, :start] = context
    for first in range(start, start + horizon, block):
        end = min(first + block, start + horizon)
        predicted = model(frames[:, max(first - overlap, 0) : first])
        frames[:, first:end] = predicted[:, : end - first]
    return frames[:, start:]


def blocked(show=lambda known, newest, whole, overlap: known[:, -overlap:], keep=None, cut=True):
    """With its own way to show and to keep; `known` begins with the context."""

    def wrong(model, context, horizon, block, overlap):
        take = keep or (lambda whole, block, overlap: whole[:, :block])
        known, blocks = context, []
        newest = whole = context
        for _ in range(math.ceil(horizon / block)):
            whole = model(show(known, newest, whole, overlap))
            newest = take(whole, block, overlap)
            blocks.append(newest)
            known = torch.cat([known, newest], 1)
        predicted = torch.cat(blocks, 1)
        return predicted[:, :horizon] if cut else predicted

    return wrong


def first_look_at_all(model, context, horizon, block, overlap):
    blocks, seen = [], context
    while sum(b.shape[1] for b in blocks) < horizon:
        blocks.append(model(seen)[:, :block])
        seen = torch.cat([context, *blocks], 1)[:, -overlap:]
    return torch.cat(blocks, 1)[:, :horizon]


def the_context_again(model, context, horizon, block, overlap):
    again = model(context[:, -overlap:])[:, :block]
    return again.repeat(1, math.ceil(horizon / block), 1, 1, 1)[:, :horizon]


def forgets_the_context(model, context, horizon, block, overlap):
    predicted = model(context[:, -overlap:])[:, :block]
    while predicted.shape[1] < horizon:
        predicted = torch.cat([predicted, model(predicted[:, -overlap:])[:, :block]], 1)
    return predicted[:, :horizon]


def until_enough(model, context, horizon, block, overlap):
    """All of each prediction."""
    known = context
    while known.shape[1] - context.shape[1] < horizon:
        known = torch.cat([known, model(known[:, -overlap:])], 1)
    return known[:, context.shape[1] :]


def rounded_down(model, context, horizon, block, overlap):
    return predict_in_blocks(model, context, horizon // block * block, block, overlap)


def blocks_in_place(model, context, horizon, block, overlap):
    answer = predict_in_blocks(model, context, horizon, block, overlap)
    context[:, -1] = 0
    return answer


def cut_to_the_overlap(model, context, horizon, block, overlap):
    """A short context is filled up with zeros."""
    missing = max(overlap - context.shape[1], 0)
    padded = F.pad(context, (0, 0, 0, 0, 0, 0, missing, 0))
    return predict_in_blocks(model, padded, horizon, block, overlap)


PREDICTIONS = {
    "The horizon is not cut": blocked(cut=False),
    "One block too few": rounded_down,
    "kept the whole of every prediction: keep its first `block` frames.": blocked(
        keep=lambda whole, block, overlap: whole, cut=False
    ),
    "one prediction alone": until_enough,
    "one block alone": lambda m, c, h, b, o: predict_in_blocks(m, c, b, b, o),
    "too: return the predicted": lambda m, c, *sizes: torch.cat(
        [c, predict_in_blocks(m, c, *sizes)], 1
    ),
    "and more than `horizon`": lambda m, c, *sizes: torch.cat(
        [c, blocked(cut=False)(m, c, *sizes)], 1
    ),
    "new first axis": lambda *a: torch.stack(predict_in_blocks(*a).unbind(1)),
    "`horizon` predicted frames, joined": lambda *a: predict_in_blocks(*a).flatten(0, 1),
    "kept the last frames": blocked(keep=lambda whole, block, overlap: whole[:, -block:]),
    "and go on from them": blocked(keep=lambda whole, block, overlap: whole),
    "from the wrong end": blocked(lambda known, newest, whole, overlap: known[:, :overlap]),
    "the whole context at first": first_look_at_all,
    "You fed all that is known": blocked(lambda known, newest, whole, overlap: known),
    "the context again for every block": the_context_again,
    "from the newest block alone": blocked(
        lambda known, newest, whole, overlap: newest[:, -overlap:]
    ),
    "forgot the context": forgets_the_context,
    "the end of the whole prediction": blocked(
        lambda known, newest, whole, overlap: whole[:, -overlap:]
    ),
    "does not repeat what": blocked(
        keep=lambda whole, block, overlap: whole[:, overlap : overlap + block]
    ),
    "are swapped": lambda m, c, h, b, o: predict_in_blocks(m, c, h, o, b),
    "from the last `block` frames": lambda m, c, h, b, o: predict_in_blocks(m, c, h, b, b),
    "a frame too long": lambda m, c, h, b, o: predict_in_blocks(m, c, h, b, o + 1),
    "a frame too short": lambda m, c, h, b, o: predict_in_blocks(m, c, h, b, max(1, o - 1)),
    "append the first `block`": lambda *a: predict_in_blocks(*a).relu(),
    "Until there are enough": blocked(
        lambda known, newest, whole, overlap: old_ones_reversed(known[:, -overlap:])
    ),
    "may be shorter than `overlap`": cut_to_the_overlap,
    "write into their argument": blocks_in_place,
}


class TestTheCheckers(CheckedChapter):
    right: ClassVar = [
        (check.teacher_forced_loss, teacher_forced_loss),
        (check.teacher_forced_loss, loss_by_hand),
        (check.rollout, rollout),
        (check.rollout, rollout_in_a_buffer),
        (check.attend_with_cache, attend_with_cache),
        (check.attend_with_cache, attend_by_sums),
        (check.ask_the_witness, ask_the_witness),
        (check.ask_the_witness, ask_by_letters),
        (check.predict_in_blocks, predict_in_blocks),
        (check.predict_in_blocks, blocks_in_a_buffer),
    ]
    wrong: ClassVar = {
        check.teacher_forced_loss: LOSSES,
        check.rollout: ROLLOUTS,
        check.attend_with_cache: LOOKS,
        check.ask_the_witness: QUESTIONS,
        check.predict_in_blocks: PREDICTIONS,
    }


def test_a_fault_in_many_numbers_is_shown_where_it_begins():
    fault = agrees(
        lambda x: x,
        [lambda: (torch.arange(12.0).reshape(2, 2, 3),)],
        ("x",),
        {},
        "no hint",
    )(lambda x: x + (x > 7))
    assert fault.expected == "from [1, 0, 2] on [8.000, 9.000, 10.000, 11.000]"
    assert fault.observed == "from [1, 0, 2] on [9.000, 10.000, 11.000, 12.000]"
