"""The command `whatwhere data split`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from whatwhere.cli.data._common import (
    Format,
    Images,
    Json,
    Pictures,
    Source,
    Target,
    To,
    data,
    read_data,
    write_data,
)
from whatwhere.cli.data._progress import progress
from whatwhere.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from whatwhere.data import Dataset


@data.command()
def split(
    source: Source,
    target: Target,
    fractions: Annotated[
        str | None,
        typer.Option(
            help="Shares of train, val and test, which add up to 1; by default 0.8,0.1,0.1, with"
            " --keep-test 0.9,0.1."
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="For cross-validation: write DST/fold0, ... instead, one data set each."),
    ] = None,
    keep_test: Annotated[
        bool, typer.Option("--keep-test", help="Leave the test pictures as they are.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Another seed gives other parts.")] = 0,
    group: Annotated[
        str | None,
        typer.Option(help="Keep pictures together that agree in this, such as folder."),
    ] = None,
    no_near: Annotated[
        bool, typer.Option("--no-near", help="Do not look for near duplicates; opens no picture.")
    ] = False,
    to: To = None,
    format: Format = None,
    images: Images = None,
    pictures: Pictures = "copy",
    as_json: Json = False,
) -> int:
    """Divide a data set anew and write it to a new folder.

    Each part gets its share of each class. Pictures that are nearly the same, and those of
    one group, stay together.
    """
    if folds is not None and fractions is not None:
        raise UsageError("--folds and --fractions exclude each other: give one of them")
    keep = ("test",) if keep_test else ()
    shares = _shares(fractions or ("0.9,0.1" if keep_test else "0.8,0.1,0.1"))
    if folds is not None and folds < 2:
        raise UsageError(f"--folds must be 2 or more, not {folds}")
    dataset = read_data(source, format, images)
    chosen = to or dataset.format
    from whatwhere.data.formats import prepared
    from whatwhere.data.partition import check_kept, group_column
    from whatwhere.data.splitting import checked_shares

    # Before pictures are looked at, which may take long.
    prepared(dataset, target, chosen, pictures)
    checked_shares(list(shares.values()))
    check_kept(dataset, shares if folds is None else (), keep)
    group_column(dataset, group)
    alike: bool | NDArray[np.int64] = False if no_near else _near(dataset, keep)
    if folds is None:
        divided = dataset.with_splits(
            shares, seed=seed, group=group, near_duplicates=alike, keep=keep
        )
        for name in shares.keys() - divided.splits.keys():
            typer.echo(
                f"warning: no picture is left for {name!r}: too many stay together", err=True
            )
        return write_data(divided, target, chosen, as_json, pictures)
    parts = dataset.folds(folds, seed=seed, group=group, near_duplicates=alike, keep=keep)
    status = 0
    for number, part in enumerate(parts):
        # What reading found is the same for all.
        read = part.findings if number == 0 or as_json else ()
        folder = target / f"fold{number}"
        status |= write_data(part, folder, chosen, as_json, pictures, read=read)
    return status


def _near(dataset: Dataset, keep: tuple[str, ...]) -> NDArray[np.int64]:
    """Groups of near duplicates, with a word about them on stderr."""
    import numpy as np

    from whatwhere.data.partition import near_groups

    with progress() as told:
        groups = near_groups(dataset, lambda done, count: told("pixels", done, count))
    size = np.bincount(groups, minlength=len(dataset))
    many = size > 1
    if many.any():
        typer.echo(
            f"{size[many].sum()} pictures are near duplicates, in {many.sum()} groups that stay"
            f" together; the largest has {size.max()}",
            err=True,
        )
    if keep:
        kept = dataset.images["split"].is_in(keep).fill_null(False).to_numpy()
        both = np.intersect1d(groups[kept], groups[~kept])
        if both.size:
            leaks = int((np.isin(groups, both) & ~kept).sum())
            typer.echo(
                f"warning: {leaks} pictures outside {', '.join(keep)} are near duplicates of"
                " pictures in it, which stays as it is: see 'whatwhere data check'",
                err=True,
            )
    return groups


def _shares(text: str) -> dict[str, float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--fractions must be numbers with commas between them, not {text!r}"
        ) from None
    names = {1: ("train",), 2: ("train", "val"), 3: ("train", "val", "test")}.get(len(values))
    if names is None:
        raise UsageError(f"--fractions has {len(values)} shares: give train, val and test")
    # A share of nothing is no part: "0.8,0,0.2" has no validation pictures.
    return {name: value for name, value in zip(names, values, strict=True) if value != 0}
