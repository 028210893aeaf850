"""The last layer of a classifier before the first step: the best one for the body as it is.

A new last layer begins with random weights, and its first gradients bend a pretrained body in
random directions. So the body's features of the training pictures are taken once, as prediction
sees them, and the layer begins as the penalised logistic regression on them; training then goes
on from there (Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution, ICLR 2022).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from whatwhere.data import Dataset
from whatwhere.metrics.partial import known_pairs
from whatwhere.specs import ModelSpec
from whatwhere.train.config import TrainConfig
from whatwhere.train.logistic import Known, fit_linear
from whatwhere.train.models import Network
from whatwhere.train.processes import from_first
from whatwhere.train.validate import Validation

_MOST = 4000
"""Pictures that are looked at, of training and of validation each."""
_SHARE = 0.15
"""Of a budget, for the features of each."""
_LARGEST = 2e9
"""Products of a pass of the solver: pictures x features x classes."""
_AT_ONCE = 32


def start_head(
    net: Network,
    training: Dataset,
    validation: Validation,
    spec: ModelSpec,
    config: TrainConfig,
    fabric: Fabric,
) -> str:
    """Put the regression's weights into the last layer; what was done, for people.

    Args:
        net: with a last layer; "" is returned for one without.
        training: pictures with labels.
        validation: chooses the penalty.
        spec: of the model in the making.
        config: settings.
        fabric: one process computes, all get the same weights.
    """
    last = net.last_layer()
    if last is None:
        return ""

    def solve() -> tuple[Tensor, Tensor, str] | None:
        return _solve(net, last, training, validation, spec, config, fabric)

    found = from_first(fabric, solve)
    if found is None:
        return ""
    with torch.no_grad():
        last.weight.copy_(found[0])
        last.bias.copy_(found[1])
    return found[2]


def _solve(
    net: Network,
    last: nn.Linear,
    training: Dataset,
    validation: Validation,
    spec: ModelSpec,
    config: TrainConfig,
    fabric: Fabric,
) -> tuple[Tensor, Tensor, str] | None:
    """Weight (C, D), bias (C,) and what was done; None where nothing could be learnt."""
    began = time.monotonic()
    net = net.to(fabric.device).eval()
    limit = min(_MOST, int(_LARGEST / last.weight.numel()))
    own = Validation(training, spec, 0)
    parts = [
        _known(net, part, _some(len(part), limit, config.seed), config, fabric)
        for part in (own, validation)
    ]
    net.train()
    if not len(parts[0].features) or not bool(parts[0].known.any()):
        return None
    answer = fit_linear(*parts, one=config.task == "classify")
    text = (
        f"the last layer begins as the logistic regression on {len(parts[0].features)} training"
        f" pictures (penalty {answer.penalty:g}, {time.monotonic() - began:.0f} s)"
    )
    return answer.weight, answer.bias, text


def _some(count: int, limit: int, seed: int) -> list[int]:
    """At most `limit` of so many rows, in random order, so that any first part is a sample."""
    return [int(i) for i in np.random.default_rng(seed).permutation(count)[:limit]]


def _known(
    net: Network, pictures: Validation, rows: Sequence[int], config: TrainConfig, fabric: Fabric
) -> Known:
    """Features and labels of the rows, as many as the budget has time for."""
    until = time.monotonic() + (_SHARE * config.budget or float("inf"))
    kept: list[int] = []
    found: list[Tensor] = []
    for start in range(0, len(rows), _AT_ONCE):
        if start and time.monotonic() > until:
            break
        made = [(i, pictures.picture(i)) for i in rows[start : start + _AT_ONCE]]
        seen = [(i, picture) for i, picture in made if picture is not None]
        if not seen:
            continue
        # A classifier's picture is never cut into tiles.
        images = np.stack([cast("tuple[np.ndarray, object]", picture)[0] for _, picture in seen])
        with torch.no_grad(), fabric.autocast():
            features = net.pooled(torch.from_numpy(images).to(fabric.device))
        found.append(features.float().cpu())
        kept += [i for i, _ in seen]
    present, known = _labels(pictures.data, kept, config.task == "classify")
    return Known(torch.cat(found) if found else torch.zeros(0, 1), present, known)


def _labels(data: Dataset, rows: Sequence[int], one: bool) -> tuple[Tensor, Tensor]:
    """What is present, float32 (N, C), and what is known, bool (N, C), of some pictures."""
    present = np.zeros((len(rows), len(data.names)), np.float32)
    pairs = known_pairs(data, "labelled")
    known = np.ones(present.shape, bool) if pairs is None else pairs[list(rows)].copy()
    for place, row in enumerate(rows):
        target = data.targets(row)
        sure, doubtful = target.class_ids[~target.ignore], target.class_ids[target.ignore]
        if one:
            # One class a picture: without it, nothing is known.
            present[place, sure[:1]] = 1
            known[place] = bool(sure.size)
        else:
            known[place, doubtful] = False
            known[place, sure] = True
            present[place, sure] = 1
    return torch.from_numpy(present), torch.from_numpy(known)
