"""The routes, one file for each resource. A route reads the request, asks a use case and answers."""

from typing import Final

from fastapi import APIRouter

from app.api.routes import (
    audio,
    azure,
    azure_latest,
    calibrations,
    challenges,
    decisions,
    enroll,
    exports,
    governance,
    identify,
    imports,
    jobs,
    live,
    models,
    operating_points,
    probes,
    reembed,
    segments,
    shadow,
    speakers,
    verbs,
    verify,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    enroll.router,
    verify.router,
    challenges.router,
    identify.router,
    segments.router,
    live.router,
    speakers.router,
    verbs.router,
    audio.router,
    models.router,
    operating_points.router,
    decisions.router,
    calibrations.router,
    governance.router,
    imports.router,
    exports.router,
    jobs.router,
    reembed.router,
    shadow.router,
    azure.router,
    azure_latest.router,
    probes.router,
)
