"""Options that the commands about labelled pictures share: declared once, worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="Part of the data to use, or 'all'; what is taken if left out is said.",
        show_default=False,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", help="Format of the data, if not to be recognised.", show_default=False
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        "--images", help="Folder of the pictures, if not beside the labels.", show_default=False
    ),
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="The same as DATA.", show_default=False)
]
ScoredTask = Annotated[
    str | None,
    typer.Option(
        "--task", help="Score as this task, such as multilabel for boxes.", show_default=False
    ),
]
PredictionsFormat = Annotated[
    str | None,
    typer.Option(
        "--predictions-format",
        help="Form of the predictions, if not to be recognised: lines (of 'predict --json'), coco,"
        " yolo, csv or voc.",
        show_default=False,
    ),
]
Groups = Annotated[
    str,
    typer.Option(
        "--groups", help="Column of pictures that belong together, such as group; auto, or none."
    ),
]
Batch = Annotated[
    int | None, typer.Option("--batch", min=1, help="Pictures at once.", show_default=False)
]
Backend = Annotated[
    str,
    typer.Option(
        "--backend", help="auto, onnxruntime, openvino; cuda, tensorrt, coreml, directml."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
