"""What it costs a classifier to differ from its teacher (Hinton, Vinyals, Dean, 2015)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from whatwhere.types import Task


@dataclass(frozen=True, slots=True)
class Distillation:
    """The teacher's part of a classifier's loss.

    For "classify" it is the Kullback-Leibler divergence from the teacher's distribution over
    the classes that both know, both at one temperature, times its square, so that gradients
    keep their size (section 2 of the paper). For "multilabel" it is the binary cross-entropy of
    each of those classes, less what the teacher's own uncertainty costs: 0 where both agree.

    Args:
        task: "classify" or "multilabel".
        temperature: of "classify".
        weight: of this part beside the labels'.
    """

    task: Task
    temperature: float = 2.0
    weight: float = 1.0

    def __call__(self, logits: Tensor, soft: Tensor) -> Tensor:
        """The loss, a scalar, not below 0.

        Args:
            logits: (N, C) float32, the student's.
            soft: (N, C) float32, `Batch.soft`: a row has the same classes known as all others.
        """
        known = soft[0] >= 0
        logits, soft = logits[:, known], soft[:, known]
        if self.task == "classify":
            log = (logits / self.temperature).log_softmax(1)
            # kl_div leaves out classes of probability 0, whose logarithm is none.
            apart = functional.kl_div(log, soft, reduction="batchmean")
            return self.weight * self.temperature**2 * apart
        cost = functional.binary_cross_entropy_with_logits(logits, soft)
        least = functional.binary_cross_entropy(soft, soft)
        return self.weight * (cost - least)
