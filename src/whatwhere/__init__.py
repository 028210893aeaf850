"""Whatwhere: what is in a picture, and where.

The public names are those in `__all__`. Each is loaded when it is first used, so that
`import whatwhere` costs nothing and prediction never loads tables or torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whatwhere.client import Client
    from whatwhere.data import Dataset, Finding, merge, read
    from whatwhere.errors import (
        DataError,
        GateError,
        ImageError,
        MissingExtraError,
        ModelError,
        ServerError,
        TrainError,
        UsageError,
        WhatwhereError,
    )
    from whatwhere.evaluation import (
        Advice,
        Calibration,
        Comparison,
        Result,
        advise,
        calibrate,
        compare,
        evaluate,
        evaluate_predictions,
    )
    from whatwhere.exporting import Exported, export
    from whatwhere.outputs.comparison_page import write_comparison
    from whatwhere.outputs.data_page import write_data_page
    from whatwhere.outputs.draw import draw
    from whatwhere.outputs.report import write_report
    from whatwhere.runtime import Predictor, Sources, load
    from whatwhere.runtime.explain import explain
    from whatwhere.runtime.foreign.importing import import_model
    from whatwhere.runtime.fusion import fuse
    from whatwhere.specs import ModelSpec
    from whatwhere.train import train
    from whatwhere.types import Label, Labels, Prediction

__version__ = "0.1.0"

# Name -> the module that defines it.
_HOME = {
    "Advice": "evaluation",
    "Calibration": "evaluation",
    "Client": "client",
    "Comparison": "evaluation",
    "DataError": "errors",
    "Dataset": "data",
    "Exported": "exporting",
    "Finding": "data",
    "GateError": "errors",
    "ImageError": "errors",
    "Label": "types",
    "Labels": "types",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "ModelSpec": "specs",
    "Prediction": "types",
    "Predictor": "runtime",
    "Result": "evaluation",
    "ServerError": "errors",
    "Sources": "runtime",
    "TrainError": "errors",
    "UsageError": "errors",
    "WhatwhereError": "errors",
    "advise": "evaluation",
    "calibrate": "evaluation",
    "compare": "evaluation",
    "draw": "outputs.draw",
    "evaluate": "evaluation",
    "evaluate_predictions": "evaluation",
    "explain": "runtime.explain",
    "export": "exporting",
    "fuse": "runtime.fusion",
    "import_model": "runtime.foreign.importing",
    "load": "runtime",
    "merge": "data",
    "read": "data",
    "train": "train",
    "write_comparison": "outputs.comparison_page",
    "write_data_page": "outputs.data_page",
    "write_report": "outputs.report",
}

# Module -> the extra that it needs, and what for.
_EXTRA = {
    "data": ("data", "Reading a data set"),
    "evaluation": ("data", "Evaluating a model"),
    "exporting": ("export", "Exporting a model"),
    "outputs.comparison_page": ("data", "Writing a comparison"),
    "outputs.data_page": ("data", "Writing a page about a data set"),
    "outputs.report": ("data", "Writing a report"),
    "train": ("train", "Training a model"),
}

__all__ = [
    "Advice",
    "Calibration",
    "Client",
    "Comparison",
    "DataError",
    "Dataset",
    "Exported",
    "Finding",
    "GateError",
    "ImageError",
    "Label",
    "Labels",
    "MissingExtraError",
    "ModelError",
    "ModelSpec",
    "Prediction",
    "Predictor",
    "Result",
    "ServerError",
    "Sources",
    "TrainError",
    "UsageError",
    "WhatwhereError",
    "__version__",
    "advise",
    "calibrate",
    "compare",
    "draw",
    "evaluate",
    "evaluate_predictions",
    "explain",
    "export",
    "fuse",
    "import_model",
    "load",
    "merge",
    "read",
    "train",
    "write_comparison",
    "write_data_page",
    "write_report",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'whatwhere' has no attribute {name!r}")
    try:
        module = import_module(f"whatwhere.{home}")
    except ModuleNotFoundError as error:
        if home not in _EXTRA or (error.name or "").partition(".")[0] == "whatwhere":
            raise
        from whatwhere.errors import MissingExtraError

        raise MissingExtraError(*_EXTRA[home]) from error
    # `whatwhere.train` is a package that can be called (see docs/adr/0005): the import
    # system binds the package to this very name, so the package itself is what we give.
    value = module if name == home else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
