"""The ``foremesh operator`` program: kopf, the replanner and the metrics endpoint in one event loop."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import kopf
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from foremesh.controller import handlers
from foremesh.controller.kubernetes import Kubernetes
from foremesh.controller.operator import Operator
from foremesh.discovery.connect import connect
from foremesh.discovery.registry import Registry
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
            lambda: _fitting_processes(settings.planning.fit_workers),
        )
        operator = Operator(kubernetes, pipeline, settings)
        metrics = await _serve_metrics(settings.metrics_listen)
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


def _fitting_processes(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: a fork of a program with threads may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=os.nice, initargs=(NICE,))


async def _serve_metrics(listen: str) -> web.AppRunner:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthy(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthy)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    host, _, port = listen.rpartition(":")
    await web.TCPSite(runner, host, int(port)).start()
    return runner
