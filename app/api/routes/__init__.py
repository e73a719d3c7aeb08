"""The routes, one file for each resource. A route reads the request, asks a use case and answers."""

from typing import Final

from fastapi import APIRouter

from app.api.routes import audio, enroll, identify, models, probes, speakers, verify

ROUTERS: Final[tuple[APIRouter, ...]] = (
    enroll.router,
    verify.router,
    identify.router,
    speakers.router,
    audio.router,
    models.router,
    probes.router,
)
