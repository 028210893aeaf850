"""How a detection transformer starts: new on a backbone from timm, or from a checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from whatwhere.errors import TrainError, UsageError
from whatwhere.train.models._transformers import QueryDetector
from whatwhere.train.models.backbone import (
    LEVELS,
    ScalePixels,
    create_backbone,
    fold_norms,
    freeze_early,
)

if TYPE_CHECKING:
    from whatwhere.train.config import TrainConfig

HUB = "hf:"
_SCORE = 0.01
# What the library would call its own backbone; it is made in the right width and thrown away.
_STAND_IN = "rt_detr_resnet"


def heads_of(width: int) -> int:
    """Attention heads for a width: eight, or as many as give each head 16 channels.

    Raises:
        UsageError: the width cannot be shared out.
    """
    if width in (32, 64, 128, 256, 512):
        return 8
    if width % 16:
        raise UsageError(f"width_head must be a multiple of 16 for this model, not {width}")
    return width // 16


def from_scratch(
    config: TrainConfig,
    names: tuple[str, ...],
    kinds: tuple[Any, Any],
    options: Mapping[str, Any],
) -> QueryDetector:
    """A new detector on a backbone from timm.

    Args:
        config: settings.
        names: of the classes.
        kinds: the library's classes of settings and of networks.
        options: further settings of the library.

    Raises:
        TrainError: the backbone is unknown or its weights cannot be had.
        UsageError: the width does not suit attention heads.
    """
    from transformers import RTDetrResNetConfig

    made = create_backbone(config.backbone, pretrained=config.pretrained, levels=LEVELS)
    width = config.width_head
    stand_in = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, *made.channels],
        depths=[1] * (1 + len(made.channels)),
        layer_type="basic",
        out_indices=list(range(2, 2 + len(made.channels))),
    )
    settings = kinds[0](
        backbone_config=stand_in,
        encoder_hidden_dim=width,
        encoder_in_channels=list(made.channels),
        encoder_ffn_dim=4 * width,
        encoder_attention_heads=heads_of(width),
        feat_strides=list(made.strides),
        d_model=width,
        decoder_in_channels=[width] * len(made.channels),
        decoder_ffn_dim=4 * width,
        decoder_attention_heads=heads_of(width),
        num_feature_levels=len(made.channels),
        num_queries=config.queries,
        initializer_bias_prior_prob=_SCORE,
        tie_word_embeddings=False,
        id2label=dict(enumerate(names)),
        **options,
    )
    model = kinds[1](settings)
    restart(model)
    if config.pretrained and config.freeze:
        freeze_early(made.net)
        fold_norms(made.net)
    net = QueryDetector(model, made.net, ScalePixels(made.mean, made.std), config.queries)
    net.source, net.license = made.source, made.license
    return net


def restart(model: Any) -> None:
    """Give a new network the start that its authors' code gives it.

    The library's own start is made to be overwritten by a checkpoint: its convolutions and
    even the scales of its batch norms are drawn from a normal distribution of deviation 0.01,
    from which hardly anything is learnt.
    """
    plain = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm, nn.Embedding)
    modules = list(model.modules())
    for module in modules:
        if isinstance(module, plain):
            module.reset_parameters()
    # What the library does for its special layers (sampling points, class biases) is right.
    for module in modules:
        if not isinstance(module, plain):
            model._init_weights(module)
    net = model.model
    for linear in (net.enc_output[0], *net.decoder.query_pos_head.layers):
        nn.init.xavier_uniform_(linear.weight)
    # Boxes begin as their anchors.
    for head in (net.enc_bbox_head, getattr(net.decoder, "pre_bbox_head", None)):
        if head is not None:
            nn.init.zeros_(head.layers[-1].weight)
            nn.init.zeros_(head.layers[-1].bias)


def is_checkpoint(start: str) -> bool:
    """Whether a start names a checkpoint of the library: "hf:owner/name" or a folder of one."""
    if start.startswith(HUB):
        return True
    try:
        values = json.loads((Path(start) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and "model_type" in values


def from_checkpoint(start: str, names: tuple[str, ...], kinds: tuple[Any, Any]) -> QueryDetector:
    """A detector from a checkpoint of the library, its backbone included.

    Only safetensors are read, and no code of the checkpoint is run. Classes of the same name
    keep what they have learnt; others start anew.

    Args:
        start: a folder, or "hf:owner/name" on the hub.
        names: of the classes.
        kinds: the library's classes of settings and of networks.

    Raises:
        TrainError: there is none, it is of another architecture, or it is damaged.
    """
    place = start.removeprefix(HUB)
    local = not start.startswith(HUB)
    wanted = kinds[0].model_type
    with _quiet():
        try:
            values, _ = kinds[0].get_config_dict(place, local_files_only=local)
            found = values.get("model_type")
            if found != wanted:
                raise TrainError(
                    f"{start} is a checkpoint of {found!r}, but this model needs one of"
                    f" {wanted!r}: choose another --model or --start"
                )
            model = kinds[1].from_pretrained(
                place, use_safetensors=True, trust_remote_code=False, local_files_only=local
            )
            means, deviations = _scaling(place, local)
        except TrainError:
            raise
        except Exception as error:  # the library and its hub client have many kinds of errors
            first = (str(error).strip().splitlines() or [""])[0]
            raise TrainError(
                f"the checkpoint {start} could not be loaded ({type(error).__name__}: {first}):"
                " give a folder with config.json and model.safetensors, or hf:owner/name"
            ) from error
    model = model.float()
    net = model.model
    if len(net.decoder_input_proj) != len(net.encoder_input_proj):
        raise TrainError(
            f"{start} has more decoder levels than its backbone gives, which is not supported:"
            " use another checkpoint"
        )
    for heads in (net.decoder.class_embed, net.decoder.bbox_embed):
        # Each layer gets weights of its own: shared ones would be averaged and saved twice.
        for index, head in enumerate(heads):
            heads[index] = deepcopy(head)
    old = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
    new = set(map(id, _carry_classes(model, old, names)))
    backbone = net.backbone.model
    body = [parameter for parameter in net.parameters() if id(parameter) not in new]
    detector = QueryDetector(
        model, backbone, ScalePixels(means, deviations), model.config.num_queries, body
    )
    known = {_plain(name) for name in old}
    fresh = [name for name in names if _plain(name) not in known]
    detector.carried = f"from the checkpoint {start} with its backbone: " + (
        f"{len(names) - len(fresh)} of {len(names)} classes carried over, new: {', '.join(fresh)}"
        if fresh
        else "all classes carried over"
    )
    detector.source, detector.license = f"the checkpoint {start}", "unknown"
    return detector


def _carry_classes(model: Any, old: list[str], names: tuple[str, ...]) -> list[nn.Parameter]:
    """Replace all layers that know classes; those of the same name keep their weights.

    Returns:
        The parameters of the layers that were replaced; none where the lists are the same.
    """
    if old == list(names):
        return []
    places = {_plain(name): index for index, name in reversed(list(enumerate(old)))}
    pairs = [
        (row, places[_plain(name)]) for row, name in enumerate(names) if _plain(name) in places
    ]
    rows, sources = [row for row, _ in pairs], [source for _, source in pairs]

    def linear(layer: nn.Linear) -> nn.Linear:
        made = nn.Linear(layer.in_features, len(names))
        nn.init.xavier_uniform_(made.weight)
        nn.init.constant_(made.bias, -math.log((1 - _SCORE) / _SCORE))
        with torch.no_grad():
            made.weight[rows] = layer.weight[sources]
            made.bias[rows] = layer.bias[sources]
        return made

    net = model.model
    changed: list[nn.Module] = [linear(layer) for layer in net.decoder.class_embed]
    net.decoder.class_embed = nn.ModuleList(changed)
    net.enc_score_head = linear(net.enc_score_head)
    changed.append(net.enc_score_head)
    if hasattr(net, "denoising_class_embed"):
        before = net.denoising_class_embed
        # The last row stands for no class.
        after = nn.Embedding(len(names) + 1, before.embedding_dim, padding_idx=len(names))
        with torch.no_grad():
            after.weight[rows] = before.weight[sources]
        net.denoising_class_embed = after
        changed.append(after)
    model.config.id2label = dict(enumerate(names))
    return [parameter for module in changed for parameter in module.parameters()]


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def _scaling(place: str, local: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation for pixels in 0..1, from `preprocessor_config.json` if there is one."""
    from transformers.utils import cached_file

    file = cached_file(
        place,
        "preprocessor_config.json",
        local_files_only=local,
        _raise_exceptions_for_missing_entries=False,
    )
    values = {} if file is None else json.loads(Path(file).read_text(encoding="utf-8"))
    if not values.get("do_normalize", False):
        return (0.0,) * 3, (1.0,) * 3
    return tuple(values["image_mean"]), tuple(values["image_std"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars and reports, which say nothing that we do not."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
