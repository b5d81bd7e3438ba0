"""The ``foremesh api`` program: the routes on their two listeners, until told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl

from aiohttp import web

from foremesh.api.server import MeshApi, config_feed, token_feed
from foremesh.discovery.connect import connect
from foremesh.discovery.registry import Registry
from foremesh.settings import Settings

log = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Serve agents over HTTPS, and the cluster over HTTP, until SIGTERM or SIGINT.

    Raises:
        OSError: If a certificate cannot be read or an address is taken.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(settings.api.cert_file, settings.api.key_file)
    async with connect(settings) as store:
        configs, digests = config_feed(store), token_feed(store)
        registry = Registry(store, presence_ttl_s=settings.api.presence)
        api = MeshApi(registry, configs, digests, operator_url=settings.api.operator_url)
        following = [asyncio.create_task(feed.follow()) for feed in (configs, digests)]
        agents = await _serve(api.agents(), settings.api.listen, tls)
        inside = await _serve(api.inside(), settings.api.metrics_listen, None)
        log.info("serving agents=%s inside=%s", settings.api.listen, settings.api.metrics_listen)
        try:
            await stop.wait()
        finally:
            for task in following:
                task.cancel()
            await agents.cleanup()
            await inside.cleanup()


async def _serve(app: web.Application, listen: str, tls: ssl.SSLContext | None) -> web.AppRunner:
    host, _, port = listen.rpartition(":")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, int(port), ssl_context=tls).start()
    return runner
