"""Event files for TensorBoard, in the run's folder `tensorboard`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whatwhere.errors import MissingExtraError
from whatwhere.images import read_image
from whatwhere.train.config import TrainConfig

FOLDER = "tensorboard"


class TensorBoard:
    """A tracker that writes scalars, the previews, and the settings as a table.

    Raises:
        MissingExtraError: tensorboardX is not installed. It writes the same files as
            TensorBoard's own writer and comes without that program's server.
    """

    def __init__(self) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingExtraError("tensorboard", "The setting tensorboard=true") from error
        self._make = SummaryWriter
        self._writer: Any = None

    def begin(self, config: TrainConfig, folder: Path) -> None:
        """Open a file; each sitting has its own, TensorBoard joins them."""
        self._writer = self._make(str(folder / FOLDER), write_to_disk=True)
        rows = "".join(f"| {name} | {value} |\n" for name, value in config.to_dict().items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", 0)
        self._writer.flush()

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Each as a scalar, losses and scores in groups of their own."""
        for name, value in values.items():
            group = "loss" if "loss" in name else "rate" if name == "rate" else "score"
            self._writer.add_scalar(f"{group}/{name}", value, step)
        self._writer.flush()

    def picture(self, step: int, file: Path) -> None:
        """The sheet under its kind, so that a slider runs through the epochs."""
        kind = file.stem if file.stem.startswith("samples") else file.stem.partition("-")[0]
        self._writer.add_image(kind, read_image(file), step, dataformats="HWC")
        self._writer.flush()

    def end(self, folder: Path) -> None:
        """Close the file."""
        self._writer.close()
