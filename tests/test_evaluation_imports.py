"""What scoring loads: each public name of `whatwhere.evaluation` is loaded when it is used."""

import json
import subprocess
import sys
from pathlib import Path

import whatwhere.evaluation

SCORE = """
import sys
from whatwhere.evaluation import evaluate_predictions
print(evaluate_predictions(sys.argv[1], sys.argv[2])["AP"])
heavy = {"torch", "onnxruntime", "hotcoco", "whatwhere.runtime"}
print(sorted(heavy & sys.modules.keys()))
"""


def test_all_names_are_there() -> None:
    for name in whatwhere.evaluation.__all__:
        assert getattr(whatwhere.evaluation, name).__name__ == name
    assert set(whatwhere.evaluation.__all__) <= set(dir(whatwhere.evaluation))


def test_coco_results_are_scored_without_a_runtime(tmp_path: Path) -> None:
    row = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40]}
    truth = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 100}],
        "annotations": [{**row, "id": 1, "area": 1600, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cup"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps([{**row, "score": 0.9}]))
    command = [sys.executable, "-c", SCORE, tmp_path / "found.json", tmp_path / "truth.json"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    score, loaded = said.split()
    assert round(float(score), 9) == 1
    assert loaded == "[]"
