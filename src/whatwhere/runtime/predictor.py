"""A model on a backend: from pictures to predictions, and the same model with other settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from whatwhere.runtime import adjust
from whatwhere.runtime.backends import Backend
from whatwhere.runtime.streaming import Failure, PredictorBase, Ready, Watch
from whatwhere.runtime.tiling import Preparation, Prepared, Tiles, predict
from whatwhere.specs import Merge, MergeMetric, ModelSpec, Suppress
from whatwhere.types import Image, Prediction

__all__ = ["Failure", "Predictor", "PredictorBase", "Ready", "Watch"]

# Tiles of one picture: on processors larger groups were slower (docs/adr/0020).
_TILES_AT_ONCE = 1
# Below this the graph is not loaded again for the tiles of one picture.
_TILES_A_LANE = 16
# From so many on a trial of engines, which is remembered, takes less time than the picture.
_TILES_FOR_TRIAL = 64


class Predictor(PredictorBase):
    """One model on one backend.

    Args:
        spec: what the model says about itself.
        backend: the loaded graph.

    Attributes:
        file: that it was loaded from; None if from bytes.
        seen: what that file says about the pictures it was trained on (`specs.SEEN_KEY`); "" if
            nothing.
        drift: its text of what later pictures are compared with (`specs.DRIFT_KEY`); "" if none.
    """

    def __init__(self, spec: ModelSpec, backend: Backend) -> None:
        super().__init__(spec.name)
        self.spec = spec
        self.backend = backend
        self.file: Path | None = None
        self.seen = ""
        self.drift = ""
        self._prepare = Preparation(spec.preprocess)
        self._one_of_many = False
        self._tiling: Backend | None = None
        self._once = Lock()

    @property
    def threads(self) -> int:
        """CPU threads that the model may use."""
        return self.backend.threads

    def in_lanes(self, lanes: int, *, trial: bool = False) -> Predictor:
        """The same model, loaded for `infer` in so many threads at once."""
        made = self._changed(self.spec, self.backend.with_lanes(lanes, trial=trial))
        made._one_of_many = True
        return made

    def prepare(self, image: Image) -> Any:
        """The picture at the model's size, and how to undo that; or its `tiling.Tiles`."""
        return self._prepare(image)

    def infer(
        self,
        prepared: Sequence[Prepared],
        *,
        names: Sequence[str | None],
        threshold: float | None = None,
        evaluation: bool = False,
    ) -> list[Prediction]:
        """Predictions of a batch that `prepare` made."""
        canvases = sum(len(item) for item in prepared if isinstance(item, Tiles))
        backend, threads = self._for_tiles(canvases)
        return predict(
            backend,
            prepared,
            self.spec,
            threshold=threshold,
            evaluation=evaluation,
            images=names,
            at_once=_TILES_AT_ONCE,
            threads=threads,
        )

    def _for_tiles(self, canvases: int) -> tuple[Backend, int]:
        """The engine for a batch, and how many groups of its tiles go through it at once.

        Several pictures are in lanes already; the tiles of a single one get lanes of their own.
        """
        if not canvases or self._one_of_many or self.lanes == 1:
            return self.backend, 1
        if canvases < _TILES_A_LANE * self.lanes:
            return self.backend, self.lanes
        with self._once:
            if self._tiling is None:
                trial = canvases >= _TILES_FOR_TRIAL
                self._tiling = self.backend.with_lanes(self.lanes, trial=trial)
            return self._tiling, self.lanes

    def with_top(self, count: int) -> Predictor:
        """The same model, giving this many labels of a picture; it shares the loaded graph."""
        changed = self.spec.postprocess.model_copy(update={"top": count})
        return self._changed(self.spec.model_copy(update={"postprocess": changed}))

    def with_tiles(
        self,
        tile: int | Literal["auto"] = "auto",
        *,
        overlap: float | None = None,
        merge: Merge | None = None,
        metric: MergeMetric | None = None,
        merge_overlap: float | None = None,
    ) -> Predictor:
        """The same detector, seeing pictures larger than a tile in tiles, and as a whole.

        Args:
            tile: longer side of a tile in picture pixels; "auto" chooses it by what the model
                was trained on (`adjust.choose_tile`); 0 for whole pictures only.
            overlap: share of a tile that it has in common with the next one, 0 to 0.9. Objects
                larger than that are left to the whole picture, or put together by `merge`.
            merge: how boxes of all tiles come together: "nms" (boxes cut by a border are
                dropped), "nmm" or "greedy-nmm" (boxes that overlap become one around them).
            metric: what overlap is for the latter: "iou", or "ios", over the smaller box.
            merge_overlap: boxes that overlap by at least this much are merged.

        Raises:
            UsageError: the model is no detector, or a value is out of its range.
        """
        spec = adjust.with_tiles(self.spec, tile, overlap, merge, metric, merge_overlap)
        return self._changed(spec)

    def with_suppression(
        self,
        suppress: Suppress | None = None,
        *,
        iou: float | None = None,
        sigma: float | None = None,
    ) -> Predictor:
        """The same detector, thinning its boxes out in another way; see `suppress`.

        Args:
            suppress: "nms", "soft" (Soft-NMS, Gaussian), "soft-linear", or "wbf" (weighted
                box fusion).
            iou: boxes of one class that overlap by more than this are taken for one object, or
                lower each other's scores; not used by "soft".
            sigma: of "soft": the larger, the less scores are lowered.

        Raises:
            UsageError: the model is no detector, its boxes are final, or a value is out of range.
        """
        return self._changed(adjust.with_suppression(self.spec, suppress, iou, sigma))

    def _changed(self, spec: ModelSpec, backend: Backend | None = None) -> Predictor:
        made = Predictor(spec, backend or self.backend)
        made.file, made.seen, made.drift = self.file, self.seen, self.drift
        return made

    def __repr__(self) -> str:
        return f"Predictor({self.spec.name!r}, task={self.spec.task!r}, {self.backend.name})"
