"""The JSON about models and about the service itself."""

from typing import Any, Literal

from app.api.schemas.common import Answer, Model, OperatingPointAnswer


class OperatingPointOfModel(OperatingPointAnswer):
    """A threshold of a model."""

    threshold: float
    """Least score that is accepted."""


class ModelFileAnswer(Answer):
    """A file of a model."""

    file: str
    precision: Literal["fp32", "int8"]
    sha256: str
    serves: list[str]
    """Machines that it is meant for: `cuda`, `cpu`, or `cpu:` and a flag of the processor."""
    suits: str
    """The same in words."""


class ModelDetail(Model):
    """A loaded model."""

    serving: bool
    """It answers this tenant's calls."""
    shadow: bool
    """It is on trial beside the one that serves."""
    enrolled: int
    """Speakers of this tenant who can be verified and identified under it."""
    provider: str
    """The ONNX Runtime provider that really runs it."""
    precision: Literal["fp32", "int8"]
    """Which of the files serves."""
    precision_reason: str
    """Why that one."""
    measured_ms: dict[str, float]
    """Median milliseconds of each file for 3 s of audio on one thread, timed when this process started; empty
    when there was no choice."""
    files: list[ModelFileAnswer]
    golden_cosine: float
    """Least cosine to the embeddings of the training framework, checked at the start."""
    sha256: str
    sample_rate_hz: int
    dim: int
    min_speech_s: float
    recipe: str
    corpus: str
    commit: str
    created_at: str
    eer: float
    """Equal error rate on the trials of the operating points, in [0, 1]."""
    cllr: float
    """Cost of the scores as log-likelihood ratios, in bits: 0 is perfect, 1 says nothing."""
    min_cllr: float
    """What it would be if every score were the best that its order allows."""
    trial_speakers: int
    """Speakers in the trials."""
    operating_points: list[OperatingPointOfModel]


class ModelsAnswer(Answer):
    """The loaded models."""

    models: list[ModelDetail]
    available: list[str]
    """Names of all models that could be activated, loaded or not."""
    active: str
    previous: str | None
    """What served before the last switch."""
    shadow: str | None
    request_id: str


class ActivationAnswer(Answer):
    """The model that serves from now on."""

    model: ModelDetail
    request_id: str


class Health(Answer):
    """The process runs."""

    status: Literal["ok"]


class ReadyAnswer(Answer):
    """The service can answer."""

    status: Literal["ready"]
    checks: dict[str, dict[str, Any]]
    """What was checked and found."""
    request_id: str
