"""The forms of questions and answers, for the OpenAPI document and for checking questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from whatwhere.serve.errors import RefusedError


class PredictOptions(BaseModel):
    """What a client may ask of `/predict`, in the address or as fields of the form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(None, description="Model or alias; the server's default if left out.")
    version: str | None = Field(None, description="Version of the model; the newest if left out.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Lowest score; the model's own if left out."
    )
    top: int | None = Field(None, ge=1, description="At most so many labels of a whole picture.")
    evaluation: bool = Field(
        False, description="Give what metrics need: every label, and boxes of low scores too."
    )
    annotate: bool = Field(False, description="Give the drawn picture (JPEG) instead of JSON.")
    timeout: float | None = Field(
        None, gt=0, description="Seconds after which the answer is of no more use."
    )


class StreamOptions(BaseModel):
    """What a client may ask of `/stream`, in the address."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(None, description="Model or alias; the server's default if left out.")
    version: str | None = Field(None, description="Version of the model; the newest if left out.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Lowest score; the model's own if left out."
    )
    top: int | None = Field(None, ge=1, description="At most so many labels of a whole picture.")
    timeout: float | None = Field(
        None, gt=0, description="Seconds after which the answer to a frame is of no more use."
    )
    latest: bool = Field(False, description="Drop frames that a newer one has overtaken.")


class LabelAnswer(BaseModel):
    """A class name and its score."""

    name: str
    score: float = Field(ge=0, le=1)


class ObjectAnswer(LabelAnswer):
    """An object: its class, score and box, and what a second model says about it."""

    box: tuple[float, float, float, float] = Field(
        description="x1, y1, x2, y2 in pixels of the picture, after EXIF turning."
    )
    labels: list[LabelAnswer] = []


class PredictionAnswer(BaseModel):
    """What a model says about one picture: the same as a line of `predict --json`."""

    image: str | None = Field(description="Name of the file, as the client gave it.")
    width: int = Field(ge=1, description="Pixels, after EXIF turning.")
    height: int = Field(ge=1)
    labels: list[LabelAnswer]
    objects: list[ObjectAnswer]
    model: str | None
    ms: float | None = Field(description="Milliseconds from bytes to answer, without waiting.")
    unsure: bool | None = None
    label_set: list[str] | None = None


class UnreadableAnswer(BaseModel):
    """A picture of a form that cannot be read, beside others that can."""

    image: str | None
    error: str


class PredictionsAnswer(BaseModel):
    """The answer to a form: one entry for each picture, in their order."""

    predictions: list[PredictionAnswer | UnreadableAnswer]


class ErrorAnswer(BaseModel):
    """A refusal."""

    error: str = Field(description="What, where, and what to do.")
    status: int
    request_id: str
    retry_seconds: float | None = Field(None, description="When it is worth to try again.")


class VersionAnswer(BaseModel):
    """One loaded version of a model."""

    version: str
    title: str = Field(description="What its predictions carry as model.")
    loaded: float = Field(description="When, seconds since 1970-01-01 UTC.")
    waiting: int = Field(description="Pictures in its queue.")
    queue: int = Field(description="Most that may wait.")
    lanes: int = Field(description="Threads.")
    batch: int = Field(description="Most pictures in one run.")
    service_seconds: float = Field(description="A lane's mean time for a picture.")


class ModelAnswer(BaseModel):
    """A model of the server."""

    name: str
    aliases: list[str]
    task: str
    default: bool = Field(description="Whether it answers requests that name no model.")
    license: str
    versions: list[VersionAnswer] = Field(description="The one for requests without version last.")
    problems: int = Field(description="Newer files that cannot be loaded; see the server's log.")


class ModelDetails(ModelAnswer):
    """A model of the server, with its classes."""

    names: list[str] = Field(description="Classes of its objects, or of whole pictures.")
    label_names: list[str] = Field(description="Classes of whole pictures, of a detector.")
    label_task: str = Field(description="Of what is said about whole pictures by a detector.")
    threshold: float = Field(description="Lowest score unless a request says otherwise.")
    thresholds: dict[str, float] = Field(description="Of classes that have their own.")
    size: tuple[int, int] = Field(description="Height and width of its input in pixels.")


class ModelsAnswer(BaseModel):
    """All models of the server."""

    models: list[ModelAnswer]


class HealthAnswer(BaseModel):
    """How the server is."""

    status: str = Field(description="live, ready, loading or ending.")


_NOTHING_ASKED = PredictOptions.model_validate({})


def once(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Options of an address by name.

    Raises:
        RefusedError: 400, one is given twice.
    """
    found: dict[str, str] = {}
    for name, value in given:
        if name in found:
            raise RefusedError(400, f"the option {name[:100]!r} is given twice: give it once")
        found[name] = value
    return found


def predict_options(*given: Mapping[str, str]) -> PredictOptions:
    """Options of a request.

    Args:
        given: by name; the first that has one wins.

    Raises:
        RefusedError: 400, one is unknown or of the wrong kind.
    """
    values: dict[str, str] = {}
    for one in reversed(given):
        values |= one
    if not values:
        return _NOTHING_ASKED
    # An empty field of a form is one that was left out.
    values = {name: value for name, value in values.items() if value != ""}
    try:
        return PredictOptions.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])[:100]
        if first["type"] == "extra_forbidden":
            known = ", ".join(PredictOptions.model_fields)
            raise RefusedError(400, f"there is no option {name!r}: choose from {known}") from None
        words = first["msg"][:1].lower() + first["msg"][1:]
        raise RefusedError(400, f"the option {name} does not fit: {words}") from None
