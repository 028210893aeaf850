"""Other programs as servers, for `serving.py`: the same plain work behind each.

`python _peer_serving.py WHO MODEL PORT CORES`. What is behind them is what a careful user would
write: OpenCV decodes the JPEG and letterboxes it, ONNX Runtime runs the model file, OpenCV
suppresses by class; the answer is JSON with a list of objects.

- `fastapi`: one process, one session with ONNX Runtime's own threads, an `async` endpoint that
  gives the work to Starlette's thread pool; `fastapi-tuned`: a process a core, one thread each.
- `litserve`: as its first example, one worker; `litserve-tuned`: a worker a core, one thread each.
- `bentoml`: a service as its first example; `bentoml-tuned`: a worker a core, one thread each.

FastAPI gets the JPEG as the body; LitServe and BentoML get a form with one file, their own way.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

SIDE, THRESHOLD, IOU = 320, 0.3, 0.6
WHO = os.environ.get("PEER_WHO", "")
MODEL = os.environ.get("PEER_MODEL", "")
CORES = int(os.environ.get("PEER_CORES", "1"))
TUNED = WHO.endswith("-tuned")


class Work:
    """From the bytes of a JPEG to its objects; safe to share between threads."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        if TUNED:
            options.intra_op_num_threads = 1
            options.inter_op_num_threads = 1
            cv2.setNumThreads(1)
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(MODEL, options, providers=providers)

    def __call__(self, body: bytes) -> list[dict[str, Any]]:
        """Objects with corners in pixels of the picture."""
        image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
        height, width = image.shape[:2]
        ratio = SIDE / max(height, width)
        size = round(width * ratio), round(height * ratio)
        left, top = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
        square = np.full((1, SIDE, SIDE, 3), 114, np.uint8)
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        square[0, top : top + size[1], left : left + size[0]] = small[..., ::-1]
        boxes, scores = self.session.run(None, {"images": square})
        rows, classes = np.nonzero(scores[0] >= THRESHOLD)
        if not len(rows):
            return []
        found = (boxes[0, rows] - (left, top, left, top)) / ratio
        kept = scores[0, rows, classes]
        sides = np.concatenate([found[:, :2], found[:, 2:] - found[:, :2]], axis=1)
        chosen = cv2.dnn.NMSBoxesBatched(
            sides.tolist(), kept.tolist(), classes.tolist(), THRESHOLD, IOU
        )
        return [
            {"box": found[n].tolist(), "score": float(kept[n]), "class": int(classes[n])}
            for n in chosen
        ]


if WHO.startswith("fastapi"):
    import fastapi
    from starlette.concurrency import run_in_threadpool

    def fastapi_app() -> fastapi.FastAPI:
        """What uvicorn starts in each process."""
        app, work = fastapi.FastAPI(), Work()

        async def predict(request: fastapi.Request) -> dict[str, Any]:
            return {"objects": await run_in_threadpool(work, await request.body())}

        # Annotations are strings here, which FastAPI resolves in the module: Request is there.
        app.post("/predict")(predict)
        return app


if WHO.startswith("litserve"):
    import litserve

    class Detector(litserve.LitAPI):  # type: ignore[misc]
        """LitServe's form of the work."""

        def setup(self, device: str) -> None:
            self.work = Work()

        # Without annotations: LitServe reads them, and these are text.
        def decode_request(self, request):  # type: ignore[no-untyped-def]
            return request["image"].file.read()

        def predict(self, x: bytes) -> list[dict[str, Any]]:
            return self.work(x)

        def encode_response(self, output):  # type: ignore[no-untyped-def]
            return {"objects": output}


if WHO.startswith("bentoml"):
    import bentoml

    class _Service:
        """BentoML's form of the work."""

        def __init__(self) -> None:
            self.work = Work()

        def predict(self, image: Path) -> dict[str, Any]:
            return {"objects": self.work(image.read_bytes())}

    # Its annotations must be objects, not text.
    _Service.predict.__annotations__ = {"image": Path, "return": dict[str, Any]}
    _Service.predict = bentoml.api(_Service.predict)
    Served = bentoml.service(workers=CORES if TUNED else 1)(_Service)


def main() -> None:
    who, model, port, cores = sys.argv[1:]
    os.environ.update(PEER_WHO=who, PEER_MODEL=model, PEER_CORES=cores)
    here = Path(__file__).resolve()
    os.chdir(here.parent)
    if who.startswith("bentoml"):
        command = ["-m", "bentoml", "serve", f"{here.stem}:Served", "--host", "127.0.0.1"]
        os.execv(sys.executable, [sys.executable, *command, "--port", port])
    if who.startswith("fastapi"):
        command = ["-m", "uvicorn", f"{here.stem}:fastapi_app", "--factory", "--port", port]
        command += ["--no-access-log", "--log-level", "warning"]
        command += ["--workers", cores if who.endswith("-tuned") else "1"]
        os.execv(sys.executable, [sys.executable, *command])
    if not WHO:
        # Once more with the environment set: LitServe's processes read this file again.
        os.execv(sys.executable, [sys.executable, str(here), *sys.argv[1:]])
    server = litserve.LitServer(
        Detector(), accelerator="cpu", workers_per_device=CORES if TUNED else 1
    )
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
