"""The JSON of jobs: imports, exports and re-embeddings."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas.common import Answer, Share
from app.service.exports import Part
from app.service.values import Group
from app.store.job_records import JobKind, JobStatus


class JobProblem(Answer):
    """Why a job did not do what was asked, or why what it made is gone."""

    code: str
    """The stable word for programs."""
    detail: str
    """The same for people."""


class Wanted(Answer):
    """What a job was asked for; what does not concern its kind is null."""

    bytes: int | None = None
    """Import: size of the upload."""
    include: list[Part] | None = None
    """Export: kinds of lines."""
    group: str | None = None
    """Export: only speakers of this group."""
    include_audio: bool | None = None
    """Export: with the recordings that are kept."""
    model: str | None = None
    """Re-embedding: name of the model that hears the recordings."""


class Coverage(Answer):
    """How far the speakers of the serving model could be served by another at this moment."""

    model: str
    """Name of the other model."""
    enrolled: int
    """Speakers enrolled under the serving model."""
    ready: int
    """Those of them who are enrolled under the other one too."""
    reenrollment_required: int
    """Those of them who would have to speak again, were the other one activated now."""


class Job(Answer):
    """Work that outlasts a request."""

    job_id: str
    kind: JobKind
    status: JobStatus
    """`queued` and `running` become one of the others. `succeeded` means that every row has an outcome,
    whatever the outcome is."""
    wanted: Wanted
    done: int
    """Rows with an outcome."""
    total: int | None
    """Rows in all; null until they are counted."""
    progress: Share | None
    """`done` of `total`, in [0, 1]."""
    rows_per_second: float | None
    """Since it began."""
    counts: dict[str, int]
    """Rows by outcome."""
    problem: JobProblem | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class JobAnswer(Job):
    """One job."""

    coverage: Coverage | None
    """Of a re-embedding: how many are ready now."""
    request_id: str


class JobsAnswer(Answer):
    """One page of jobs, the newest first."""

    jobs: list[Job]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last."""
    request_id: str


class JobRow(Answer):
    """What became of one row."""

    number: int
    """From 1: the row of the manifest, the file in the order of names, or the line."""
    outcome: str
    """Import: `accepted`, `duplicate`, `refused`, `skipped`. Export: `exported`. Re-embedding: `ready`,
    `reenrollment_required`, `skipped`."""
    speaker_id: str | None
    """Null when the speaker was deleted since."""
    enrollment_id: str | None
    code: str | None
    """Why it was refused: a code of the problem documents."""
    detail: str | None
    """The same for people."""


class JobRowsAnswer(Answer):
    """One page of rows, in their order."""

    rows: list[JobRow]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last."""
    request_id: str


class ExportWish(BaseModel):
    """What is to be exported."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    include: Annotated[list[Literal["speakers", "enrollments"]], Field(min_length=1, max_length=2)] = [
        "speakers",
        "enrollments",
    ]
    """Kinds of lines."""
    group: Group | None = None
    """Only speakers whose metadata has this `group`."""
    include_audio: bool = False
    """Put the recordings, where they are kept, into the lines of their enrollments, in base64."""


class ReembedWish(BaseModel):
    """Which model is to hear the recordings."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9._@-]{1,128}$")]
    """Name of its folder."""


class CoverageAnswer(Coverage):
    """How far a model could take over."""

    request_id: str
