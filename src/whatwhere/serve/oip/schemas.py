"""The forms of the protocol's questions and answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class TensorMetadata(BaseModel):
    """An input or output of a model."""

    name: str
    datatype: str = Field(description="UINT8, INT32, FP32 or BYTES.")
    shape: list[int] = Field(description="Sides; -1 where any is allowed.")


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class ModelMetadata(BaseModel):
    """A model as the protocol sees it. A request gives one of the inputs, not both."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class LiveAnswer(BaseModel):
    """Whether the server answers."""

    live: bool


class ReadyAnswer(BaseModel):
    """Whether the server, or a model of it, takes requests."""

    name: str | None = Field(None, description="The model's name.")
    ready: bool


class _Strict(BaseModel):
    # A misspelt field must not be lost without a word.
    model_config = ConfigDict(extra="forbid")


class InputTensor(_Strict):
    """A tensor of a request, its values in `data` or behind the JSON."""

    name: str = Field(description="images or image_files.")
    shape: list[int] = Field(max_length=8)
    datatype: str
    parameters: dict[str, Any] = Field(
        {}, description="binary_data_size: bytes of its values behind the JSON."
    )
    data: list[Any] | None = Field(
        None, description="Values, flat or nested; of image_files strings in base64."
    )


class OutputRequest(_Strict):
    """An output that is wanted."""

    name: str
    parameters: dict[str, Any] = Field({}, description="binary_data: give it behind the JSON.")


class InferRequest(_Strict):
    """A question: pictures, and which outputs are wanted."""

    id: str | None = Field(None, max_length=256, description="Given back in the answer.")
    parameters: dict[str, Any] = Field(
        {},
        description="threshold: lowest score; timeout: microseconds; binary_data_output: give all"
        " outputs behind the JSON.",
    )
    inputs: list[InputTensor] = Field(min_length=1, max_length=8)
    outputs: list[OutputRequest] | None = Field(None, max_length=32)


class OutputTensor(BaseModel):
    """A tensor of an answer; `parameters.binary_data_size` bytes behind the JSON, or `data`."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class InferAnswer(BaseModel):
    """The answer to `InferRequest`."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]
