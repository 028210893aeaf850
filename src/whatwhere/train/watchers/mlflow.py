"""A run in MLflow: settings, numbers, previews, and the model file at the end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whatwhere.errors import MissingExtraError
from whatwhere.images import write_atomic
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import CHECKPOINT
from whatwhere.train.watchers.previews import FOLDER

EXPERIMENT = "whatwhere"
RECORD = "mlflow.json"
"""Which run of MLflow belongs to the folder, so that a resumed run goes on with it."""

_FILES = ("model.onnx", "report.html", "config.json", "metrics.csv", "curves.png")
# MLflow takes at most so many settings a call, and so many letters each.
_PARAMS, _LETTERS = 100, 500
_ENVIRONMENT = {
    # MLflow itself tries a server for four minutes, and training would wait.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # Who trains what is nobody else's business.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # It would stand among the JSON of --json.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class MLflow:
    """A tracker that keeps a run on an MLflow server.

    The experiment is "whatwhere", or what the environment variable MLFLOW_EXPERIMENT_NAME
    says. Variables of MLflow that are set already are left alone.

    Args:
        uri: tracking URI, such as http://localhost:5000.

    Raises:
        MissingExtraError: mlflow-skinny is not installed.
    """

    def __init__(self, uri: str) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            import mlflow
        except ModuleNotFoundError as error:
            raise MissingExtraError("mlflow", "The setting mlflow") from error
        self._mlflow: Any = mlflow
        self._uri = uri
        self._client: Any = None
        self._run = ""

    def begin(self, config: TrainConfig, folder: Path) -> None:
        """Make a run with the settings, or go on with that of the folder."""
        self._client = self._mlflow.MlflowClient(tracking_uri=self._uri)
        record = folder / RECORD
        if (folder / CHECKPOINT).is_file() and record.is_file():
            known = json.loads(record.read_text(encoding="utf-8"))
            if known["uri"] == self._uri:
                self._run = known["run"]
                self._client.update_run(self._run, status="RUNNING")
                return
        # This is called again where a part of it failed.
        if not self._run:
            made = self._client.create_run(self._experiment(), run_name=folder.name)
            self._run = made.info.run_id
        settings = [
            self._mlflow.entities.Param(key, str(value)[:_LETTERS])
            for key, value in config.to_dict().items()
        ]
        for start in range(0, len(settings), _PARAMS):
            self._client.log_batch(self._run, params=settings[start : start + _PARAMS])
        write_atomic(record, json.dumps({"uri": self._uri, "run": self._run}) + "\n")

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """All in one call."""
        now = int(time.time() * 1000)
        rows = [self._mlflow.entities.Metric(k, v, now, step) for k, v in values.items()]
        self._client.log_batch(self._run, metrics=rows)

    def picture(self, step: int, file: Path) -> None:
        """The sheet as an artifact; its name has the epoch."""
        self._client.log_artifact(self._run, str(file), FOLDER)

    def end(self, folder: Path) -> None:
        """Model file, report, settings and curves as artifacts; the run is finished."""
        for name in _FILES:
            if (folder / name).is_file():
                self._client.log_artifact(self._run, str(folder / name))
        self._client.set_terminated(self._run)
