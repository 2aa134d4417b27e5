"""The service on Ray Serve: the same routes, and each tower a deployment that scales by its queue.

`serve run siglip2.serve.ray_app:app` takes SIGLIP2_MODEL, SIGLIP2_DATABASE, SIGLIP2_RATE_LIMIT_STORAGE and
SIGLIP2_OPEN from the environment. Front doors share accounts in PostgreSQL and limits in Redis; on SQLite
there is one front door.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from siglip2.encoder import Encoder, load
from siglip2.errors import InvalidInput
from siglip2.inputs.image import PreparedImage
from siglip2.serve.app import create_app
from siglip2.serve.engine import Engine, embed_token_ids
from siglip2.serve.errors import overloaded
from siglip2.serve.settings import ServeSettings
from siglip2.similarity import to_unit_length

IMAGES, TEXTS, DOORS = "images", "texts", "doors"
MAX_QUEUED = 1024
"""Requests to a tower that wait at each front door; beyond it callers get 503."""

RETRIES = 3
"""Of an item whose replica died: embedding it twice does no harm."""

TOWER_CPUS, DOOR_CPUS = 0.75, 0.25
"""What Ray sets aside for each replica: two towers and a front door fit on two cores."""

SCALING = {"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 16}


@serve.deployment(name=IMAGES, max_ongoing_requests=64, max_queued_requests=MAX_QUEUED)
class ImageTower:
    """Embeds prepared images, as many together as have come."""

    def __init__(self, source: str):
        self._encoder = load(source)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.005)
    async def embed(self, images: list[PreparedImage]) -> list[np.ndarray]:
        """One unit vector (E,) an image."""
        batch = self._encoder.image_preprocessor.batch(images)
        features = await asyncio.to_thread(self._encoder.runtime.encode_images, batch)
        return list(to_unit_length(features.pooled))


@serve.deployment(name=TEXTS, max_ongoing_requests=256, max_queued_requests=4 * MAX_QUEUED)
class TextTower:
    """Embeds texts, as many together as have come."""

    def __init__(self, source: str):
        self._encoder = load(source)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.005)
    async def embed(self, texts: list[str]) -> list[tuple[np.ndarray, int]]:
        """Unit vector (E,) and number of tokens of each text."""
        return list(await asyncio.to_thread(embed_token_ids, self._encoder, texts))


class RemoteTower:
    """A deployment in the place of a `Batcher`, which has the same methods."""

    def __init__(self, handle: DeploymentHandle):
        self._handle = handle
        self.alive = False
        self.in_trouble = False
        self.running_seconds = 0.0
        self.num_waiting = self.batches = self.items = 0

    def start(self) -> None:
        """Ray has started it."""
        self.alive = True

    async def stop(self) -> None:
        """Ray stops it."""
        self.alive = False

    async def submit(self, items: Sequence[Any]) -> list[Any]:
        """Results of the items, in their order.

        Raises:
            ApiError: 503, the deployment has as much to do as it can hold.
        """
        self.num_waiting += len(items)
        try:
            results = await asyncio.gather(*(self._one(item) for item in items))
        except Exception:
            self.in_trouble = True
            raise
        finally:
            self.num_waiting -= len(items)
        self.in_trouble = False
        self.items += len(items)
        return results

    async def _one(self, item: Any) -> Any:
        for attempt in range(RETRIES + 1):
            try:
                return await self._handle.embed.remote(item)
            except BackPressureError:
                raise overloaded() from None
            except RayActorError:
                if attempt == RETRIES:
                    raise
                await asyncio.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")


def build(settings: ServeSettings, *, scaling: dict[str, int] | None = None) -> serve.Application:
    """The application to `ray.serve.run`.

    Args:
        settings: of every front door.
        scaling: Ray's `autoscaling_config` of towers and front doors.

    Raises:
        InvalidInput: several models, which several applications of Ray would serve.
    """
    if settings.other_models or settings.collections:
        raise InvalidInput("on Ray one application serves one model and no collections: deploy several")
    scaling = dict(scaling or SCALING)
    source = settings.source(settings.model)
    towers = [
        tower.options(autoscaling_config=scaling, ray_actor_options={"num_cpus": TOWER_CPUS}).bind(source)
        for tower in (ImageTower, TextTower)
    ]
    alone = settings.open or settings.database.startswith("sqlite")
    copies: dict[str, Any] = {"num_replicas": 1} if alone else {"autoscaling_config": scaling}
    door = serve.ingress(lambda: _front_door(settings, source))()
    options = {"num_cpus": DOOR_CPUS}
    doors = serve.deployment(door, name=DOORS, max_ongoing_requests=512, ray_actor_options=options, **copies)
    return doors.bind(*towers)


def _front_door(settings: ServeSettings, source: str) -> FastAPI:
    """One replica's own service: it decodes and tokenizes, the towers are elsewhere."""
    name = serve.get_replica_context().app_name

    def make_engine(encoder: Encoder) -> Engine:
        images, texts = (
            RemoteTower(serve.get_deployment_handle(each, app_name=name)) for each in (IMAGES, TEXTS)
        )
        return Engine(encoder, settings.engine, images=images, texts=texts)

    def refuse(source: str) -> Encoder:
        raise InvalidInput("on Ray a model is loaded anew by deploying again")

    return create_app(settings, encoder=load(source), load_model=refuse, make_engine=make_engine)


def settings_of_environment() -> ServeSettings:
    """What `serve run` is told by the environment."""
    environment = os.environ
    defaults = ServeSettings()
    model = environment.get("SIGLIP2_MODEL", defaults.model)
    return ServeSettings(
        open=environment.get("SIGLIP2_OPEN") == "1",
        model=model,
        database=environment.get("SIGLIP2_DATABASE", defaults.database),
        rate_limit_storage=environment.get("SIGLIP2_RATE_LIMIT_STORAGE", defaults.rate_limit_storage),
    )


app = build(settings_of_environment())
