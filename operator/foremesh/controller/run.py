"""The ``foremesh operator`` program: kopf, the replanner and the metrics endpoint in one event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from concurrent.futures import Executor
from pathlib import Path
from types import SimpleNamespace

import kopf
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from foremesh.controller import handlers
from foremesh.controller.explanations import Explanations
from foremesh.controller.foretold import Foretold, UnknownQuery
from foremesh.controller.kubernetes import Kubernetes
from foremesh.controller.operator import Operator
from foremesh.decide import Unexplained
from foremesh.discovery.connect import connect
from foremesh.discovery.registry import Registry
from foremesh.forecast.cluster import DaskExecutor, Tls
from foremesh.forecast.pool import fitting_processes
from foremesh.pipeline import Pipeline
from foremesh.settings import Settings

log = logging.getLogger(__name__)

NICE = 10
"""Niceness of fitting processes: a fit may wait, a plan and a probe may not."""


async def run(settings: Settings, kubeconfig: Path | None) -> None:
    """Run until SIGTERM or SIGINT, or until kopf or the loop fails."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if kubeconfig is not None:
        os.environ["KUBECONFIG"] = str(kubeconfig)
    async with Kubernetes(kubeconfig) as kubernetes, connect(settings) as store:
        pipeline = Pipeline(
            Registry(store, presence_ttl_s=settings.api.presence),
            settings,
            lambda: _fitting(settings),
        )
        operator = Operator(kubernetes, pipeline, settings)
        metrics = await _serve_metrics(settings.metrics_listen, operator.foretold, operator.explanations)
        watching = kopf.operator(
            clusterwide=True, memo=SimpleNamespace(listener=operator), stop_flag=stop, registry=handlers.registry
        )
        planning = asyncio.create_task(operator.run())
        kopfs = asyncio.create_task(watching)
        try:
            done, _ = await asyncio.wait((planning, kopfs), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            stop.set()
            planning.cancel()
            await asyncio.gather(planning, kopfs, return_exceptions=True)
            await pipeline.close()
            await metrics.cleanup()


def _fitting(settings: Settings) -> Executor:
    """Where models are fitted."""
    dask = settings.dask
    if dask.address is None:
        return fitting_processes(settings.planning.fit_workers, niceness=NICE)
    named = [file for file in (dask.ca_file, dask.cert_file, dask.key_file) if file]
    return DaskExecutor(dask.address, Tls(*named) if named else None)


def metrics_app(foretold: Foretold, explanations: Explanations | None = None) -> web.Application:
    """What only the cluster reaches: metrics, health, what is forecast, and why paths are what they are."""
    told = explanations or Explanations()

    async def metrics(_: web.Request) -> web.Response:
        # What thousands of links have to tell takes a while to write; planning goes on meanwhile.
        body = generate_latest() + await asyncio.to_thread(foretold.text)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthy(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def forecasts(request: web.Request) -> web.Response:
        try:
            page = await asyncio.to_thread(foretold.page, dict(request.query))
        except UnknownQuery as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(page)

    async def explained(request: web.Request) -> web.Response:
        try:
            page = await asyncio.to_thread(told.page, request.match_info["what"])
        except Unexplained as error:
            return web.json_response({"error": str(error)}, status=404)
        return web.json_response(page)

    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", metrics),
            web.get("/healthz", healthy),
            web.get("/v1/forecasts", forecasts),
            web.get("/v1/explanations/{what:.+}", explained),
        ]
    )
    return app


async def _serve_metrics(listen: str, foretold: Foretold, explanations: Explanations) -> web.AppRunner:
    runner = web.AppRunner(metrics_app(foretold, explanations), access_log=None)
    await runner.setup()
    host, _, port = listen.rpartition(":")
    await web.TCPSite(runner, host, int(port)).start()
    return runner
