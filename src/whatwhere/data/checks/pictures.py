"""Pictures that are missing, unreadable, damaged, too large, blank or of another size."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from whatwhere.data.checks._report import Report, listed
from whatwhere.errors import ImageError
from whatwhere.images import ImageInfo, picture_exists, probe_image

_NO_LIMIT = 1 << 62


def find(report: Report) -> None:
    """Look at each header, and at depth "pixels" at all of each picture."""
    if report.depth == "labels":
        return
    told = {
        (one.kind, one.where): one
        for one in report.dataset.findings
        if one.kind in ("missing-image", "unreadable-image")
    }
    # A reader that misses pictures said so for each, or once for all.
    missed = next((one for one in report.dataset.findings if one.kind == "missing-image"), None)
    paths = report.dataset.paths
    sizes = report.dataset.images.select("width", "height").rows()
    for row, answer in enumerate(_headers(report)):
        if isinstance(answer, ImageInfo):
            _compare_size(report, row, sizes[row], answer)
            continue
        kind = "unreadable-image"
        if not picture_exists(paths[row]):
            kind = "missing-image"
        elif _fits_without_limit(paths[row]):
            kind = "oversized-image"
        before = told.get((kind, report.names[row]))
        if before is None and kind == "missing-image":
            before = missed
        report.left_out[row] = before or report.picture(row, kind, str(answer), "error")
    if report.depth == "pixels":
        _pixels(report)


def _headers(report: Report) -> list[ImageInfo | ImageError]:
    def probe(chunk: list[str]) -> list[ImageInfo | ImageError]:
        found: list[ImageInfo | ImageError] = []
        for path in chunk:
            try:
                found.append(probe_image(path))
            except ImageError as error:
                found.append(error)
        return found

    paths = report.dataset.paths
    chunks = [paths[start : start + 256] for start in range(0, len(paths), 256)]
    answers: list[ImageInfo | ImageError] = []
    with ThreadPoolExecutor(max_workers=8) as pool:
        for found in pool.map(probe, chunks):
            answers.extend(found)
            report.tell("headers", len(answers), len(paths))
    return answers


def _fits_without_limit(path: str) -> bool:
    try:
        probe_image(path, max_pixels=_NO_LIMIT)
    except ImageError:
        return False
    return True


def _compare_size(report: Report, row: int, size: tuple[int | None, ...], info: ImageInfo) -> None:
    if None in size or size == (info.width, info.height):
        return
    hint = ""
    turned = size == (info.height, info.width)
    if turned and info.orientation >= 5:
        hint = (
            f"; EXIF orientation {info.orientation} turns it, and the labels seem to be of the"
            " picture before"
        )
    elif turned:
        hint = "; the labels seem to be of the picture before EXIF turned it, or width and height"
        hint += " are exchanged"
    message = (
        f"the picture is {info.width}x{info.height} pixels, its annotation says"
        f" {size[0]}x{size[1]}{hint}"
    )
    finding = report.picture(row, "wrong-size", message, "error")
    if report.dataset.task != "detect":
        report.resized[row] = info.width, info.height, finding
    elif turned and info.orientation >= 5:
        report.turned[row] = info.orientation, finding
    else:
        # Nobody can tell which pixels the boxes mean.
        report.left_out[row] = finding


def _pixels(report: Report) -> None:
    """What only decoding shows."""
    told = set(report.left_out)
    paths = report.dataset.paths
    seen = report.seen
    for row in sorted(seen.errors.keys() | seen.damage.keys()):
        if row in told or not picture_exists(paths[row]):
            continue
        if row in seen.errors:
            finding = report.picture(row, "unreadable-image", seen.errors[row], "error")
            report.left_out[row] = finding
            continue
        said, broken = seen.damage[row]
        if broken:
            message = f"a part of the picture is lost; the decoder says {said!r}"
            report.left_out[row] = report.picture(row, "damaged-image", message, "error")
        else:
            message = f"the picture may be damaged; the decoder says {said!r}"
            report.picture(row, "damaged-image", message)
    for row in (seen.flat & seen.readable).nonzero()[0].tolist():
        report.picture(row, "blank-image", "all pixels are nearly the same grey", "info")
    grey = (seen.readable & ~seen.colour & ~seen.flat).nonzero()[0].tolist()
    coloured = int((seen.readable & seen.colour).sum())
    if grey and coloured:
        some = listed([report.names[row] for row in grey], 3)
        message = f"{len(grey)} of {len(grey) + coloured} pictures are grey, the others not: {some}"
        report.whole("grey-image", message)
