"""Registers a job definition for workers, once for the same content."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from backends.base import BackendContext
from backends.batch.client import BatchService
from backends.batch.definition import EC2, FARGATE, build_definition, is_on_fargate
from backends.batch.settings import BatchSettings
from core.aws.calls import AwsCalls, AwsClients


@dataclass(frozen=True, slots=True)
class Registered:
    """`is_new` is False where the same was registered before."""

    name: str
    is_new: bool


def register(context: BackendContext) -> Registered:
    """The job definition that the settings `batch_*` describe.

    Raises UsageError for what cannot be one, BackendError where AWS refuses.
    """
    region = BatchSettings.read(context.options).batch_region
    with closing(AwsClients(region, context.credentials, context.environ)) as clients:
        return register_with(BatchService(clients, AwsCalls(context.clock)), context)


def register_with(service: BatchService, context: BackendContext) -> Registered:
    settings = BatchSettings.read(context.options)
    platform = _platform(service, settings.batch_job_queue)
    definition = build_definition(settings, platform)
    name = str(definition["jobDefinitionName"])
    if service.definition(name) is not None:
        return Registered(name, is_new=False)
    service.register(definition)
    return Registered(name, is_new=True)


def _platform(service: BatchService, queue: str) -> str:
    """What the queue's compute environments are; Fargate where no queue was named."""
    found = service.queue(queue) if queue else None
    order = (found or {}).get("computeEnvironmentOrder") or ()
    environments = [service.environment(place["computeEnvironment"]) for place in order]
    known = [environment for environment in environments if environment is not None]
    return FARGATE if not known or any(map(is_on_fargate, known)) else EC2
