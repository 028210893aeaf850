"""Detection transformers of Hugging Face's library on our backbones, in our loop.

What is theirs: projection, hybrid encoder, decoder, denoising queries, matching, loss. What is
ours: the backbone from timm, pixels in and boxes out, the start of the weights, and in which
precision what is computed: backbone and encoder follow the run's precision, while the decoder
and the loss are float32, since a box coordinate in bfloat16 is right to one part in 256 only.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whatwhere.errors import MissingExtraError
from whatwhere.train.batch import Batch, BoxTargets
from whatwhere.train.losses.share import shared
from whatwhere.train.models.backbone import ScalePixels, keep_frozen
from whatwhere.train.models.family import Network

EXTRA = "transformers"
_CLEAR = 1e-4
_PARTS = {
    "loss_vfl": "class_loss",
    "loss_bbox": "box_loss",
    "loss_giou": "box_loss",
    "loss_fgl": "side_loss",
    "loss_ddf": "side_loss",
}


def need_extra(title: str) -> None:
    """Refuse to go on without the extra.

    Raises:
        MissingExtraError: the library, or SciPy for its matching, is not installed.
    """
    if any(find_spec(name) is None for name in ("transformers", "scipy")):
        raise MissingExtraError(EXTRA, f"A model of the family {title}")


class QueryDetector(Network):
    """A detector whose queries each find one object or none; nothing is suppressed afterwards.

    Args:
        model: of the library, for object detection; taken apart.
        backbone: gives a feature map for each level.
        scale: what its pixels must go through first.
        queries: objects that it looks for in a picture.
        body: which of the parameters come from pretraining; those of the backbone if None.

    Attributes:
        carried: what was taken over from a checkpoint of the library, for people.
    """

    end_to_end = True
    unordered = True
    carried: str = ""

    def __init__(
        self,
        model: Any,
        backbone: nn.Module,
        scale: ScalePixels,
        queries: int,
        body: Iterable[nn.Parameter] | None = None,
    ) -> None:
        super().__init__()
        self.scale, self.backbone = scale, backbone
        self.queries = queries
        self.detector: Any = model.model
        # The library's own backbone; what is used lies beside it.
        del self.detector.backbone
        self._criterion = model.loss_function
        self._config = model.config
        self._body = None if body is None else {id(parameter) for parameter in body}

    def train(self, mode: bool = True) -> QueryDetector:
        super().train(mode)
        keep_frozen(self.backbone)
        return self

    def body(self) -> Iterable[nn.Parameter]:
        """The backbone; all but the class layers, if the whole network was pretrained."""
        if self._body is None:
            return self.backbone.parameters()
        return [parameter for parameter in self.parameters() if id(parameter) in self._body]

    def levels(self, images: Tensor) -> list[Tensor]:
        """The encoder's feature maps, float32 (N, D, h, w), for uint8 images (N, H, W, 3)."""
        x = self.scale(images).contiguous(memory_format=torch.channels_last)
        maps = self.backbone(x)
        # The library's backbones give a record, timm's a list.
        maps = getattr(maps, "feature_maps", maps)
        parts = [
            project(x) for project, x in zip(self.detector.encoder_input_proj, maps, strict=True)
        ]
        encoded = self.detector.encoder(parts).last_hidden_state
        return [level.float() for level in encoded]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs of the model file: `boxes` (N, Q, 4) and `scores` (N, Q, C) in 0..1."""
        levels = self.levels(images)
        with _float32(images):
            answer, _ = self._decode(levels)
            boxes = answer.intermediate_reference_points[:, -1]
            return {
                "boxes": corners(boxes, (images.shape[1], images.shape[2])),
                "scores": answer.intermediate_logits[:, -1].sigmoid(),
            }

    def _places(self, levels: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Features (N, P, D), anchors (1, P, 4) before the sigmoid, proposals (N, P, D)."""
        net = self.detector
        maps = [project(x) for project, x in zip(net.decoder_input_proj, levels, strict=True)]
        flat = torch.cat([x.flatten(2).transpose(1, 2) for x in maps], 1)
        shapes = _shapes(levels)
        anchors, valid = net.generate_anchors(shapes, device=flat.device, dtype=flat.dtype)
        return flat, anchors, net.enc_output(valid.to(flat.dtype) * flat)

    def _decode(
        self, levels: list[Tensor], labels: list[dict[str, Tensor]] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """What the decoder answers, and what the loss needs beside it.

        The same steps as the library's model takes, but the queries stay in the order of their
        places in the picture, not of their scores: two scores that differ in the seventh digit
        must not swap two rows of the output.

        Args:
            levels: float32 feature maps.
            labels: of the pictures, in training: denoising queries are put before the others.
        """
        net = self.detector
        flat, anchors, memory = self._places(levels)
        logits, boxes = net.enc_score_head(memory), net.enc_bbox_head(memory) + anchors
        # Each query starts from a place of its own; a small picture has few.
        count = min(self.queries, flat.shape[1])
        best = logits.amax(-1).topk(count, 1).indices.sort(1).values

        def pick(values: Tensor) -> Tensor:
            return values.gather(1, best.unsqueeze(-1).expand(-1, -1, values.shape[-1]))

        # The decoder's loss does not reach back into the choice of places.
        queries, starts = pick(memory).detach(), pick(boxes)
        beside: dict[str, Any] = {
            "enc_topk_logits": pick(logits),
            "enc_topk_bboxes": starts.sigmoid(),
            "denoising_meta_values": None,
        }
        mask = None
        if labels is not None and self._config.num_denoising > 0:
            noisy, noisy_starts, mask, about = self._noise(labels, count)
            # A batch without any object has nothing to add noise to.
            if noisy is not None:
                queries = torch.cat([noisy, queries], 1)
                starts = torch.cat([noisy_starts, starts], 1)
                beside["denoising_meta_values"] = about
        shapes = _shapes(levels)
        answer = net.decoder(
            inputs_embeds=queries,
            encoder_hidden_states=flat,
            encoder_attention_mask=mask,
            reference_points=starts.detach(),
            # Only checked against the length of `flat`, in plain Python numbers: the check of a
            # tensor would become part of the exported graph.
            spatial_shapes=np.array(shapes, dtype=object),
            spatial_shapes_list=list(shapes),
        )
        return answer, beside

    def _noise(self, labels: list[dict[str, Tensor]], count: int) -> Any:
        """Queries, starts, attention mask and record of objects with noise, from torch's RNG."""
        from transformers.models.rt_detr_v2 import modeling_rt_detr_v2

        return modeling_rt_detr_v2.get_contrastive_denoising_training_group(
            targets=labels,
            num_classes=self._config.num_labels,
            num_queries=count,
            class_embed=self.detector.denoising_class_embed,
            num_denoising_queries=self._config.num_denoising,
            label_noise_ratio=self._config.label_noise_ratio,
            box_noise_scale=self._config.box_noise_scale,
        )

    @torch.no_grad()
    def settled(self, images: Tensor) -> bool:
        """Whether it is clear which places of the pictures (N, H, W, 3) become queries.

        Where the last one chosen and the first one passed over score the same to the fourth
        digit, rounding decides, and two runtimes may differ without either being wrong.
        """
        levels = self.levels(images)
        with _float32(images):
            scores = self.detector.enc_score_head(self._places(levels)[2]).amax(-1)
        if scores.shape[1] <= self.queries:
            return True
        best = scores.topk(self.queries + 1, 1).values
        return bool((best[:, -2] - best[:, -1] > _CLEAR).all())

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The library's loss over all decoder layers, with denoising queries."""
        assert batch.boxes is not None
        levels = self.levels(batch.images)
        with _float32(batch.images):
            labels = as_labels(batch.boxes, (batch.images.shape[1], batch.images.shape[2]))
            answer, beside = self._decode(levels, labels)
            total, parts, _ = self._criterion(
                answer.intermediate_logits[:, -1],
                labels,
                levels[-1].device,
                answer.intermediate_reference_points[:, -1],
                self._config,
                answer.intermediate_logits,
                answer.intermediate_reference_points,
                predicted_corners=answer.intermediate_predicted_corners,
                initial_reference_points=answer.initial_reference_points,
                **beside,
            )
            # The library divides everything by the objects of this process, or by 1.
            objects = torch.tensor(sum(len(one["class_labels"]) for one in labels))
            parts = shared({"": total} | parts, objects.to(total.device))
            total = parts.pop("")
        return total, _by_kind(parts)


def _shapes(levels: list[Tensor]) -> tuple[tuple[int, int], ...]:
    return tuple((x.shape[2], x.shape[3]) for x in levels)


def corners(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes x1 y1 x2 y2 in input pixels from cx cy w h in shares of (height, width)."""
    height, width = size
    centre, sides = boxes[..., :2], boxes[..., 2:].clamp(min=0)
    whole = boxes.new_tensor([width, height])
    return torch.cat([(centre - sides / 2) * whole, (centre + sides / 2) * whole], -1)


def as_labels(targets: BoxTargets, size: tuple[int, int]) -> list[dict[str, Tensor]]:
    """What the library's losses take, one record a picture.

    `class_labels` int64 (G,) and `boxes` float32 (G, 4), cx cy w h in shares of (height, width).
    Padding and regions to ignore are left out.
    """
    height, width = size
    whole = targets.boxes.new_tensor([width, height])
    first, last = targets.boxes[..., :2] / whole, targets.boxes[..., 2:] / whole
    boxes = torch.cat([(first + last) / 2, last - first], -1)
    wanted = targets.valid & ~targets.ignore
    return [
        {"class_labels": classes[kept], "boxes": rows[kept]}
        for classes, rows, kept in zip(targets.classes, boxes, wanted, strict=True)
    ]


def _float32(images: Tensor) -> Any:
    return torch.autocast(images.device.type, enabled=False)


def _by_kind(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """The losses of all layers by what they teach, detached."""
    kinds: dict[str, Tensor] = {}
    for name, value in parts.items():
        kind = next((kind for start, kind in _PARTS.items() if name.startswith(start)), "loss")
        kinds[kind] = kinds.get(kind, torch.zeros_like(value)) + value.detach()
    return kinds
