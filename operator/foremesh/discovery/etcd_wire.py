"""etcd's gRPC interface, as far as the store uses it: messages, methods, channels.

The messages are declared here by the fields that are used, each with name, number and type, as in etcd's public
``rpc.proto`` and ``kv.proto`` (API version 3, whose numbers are stable by promise), and become classes when this module
is imported. They live in a descriptor pool of their own, so that another etcd client in the process does not collide
with them.

Everything is a field with explicit presence. That is wire-compatible: a ``oneof`` is a set of optional fields of which
one is set, an enum travels as an integer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

MESSAGES: dict[str, str] = {
    "ResponseHeader": "revision:int64=3",
    "KeyValue": "key:bytes=1 mod_revision:int64=3 value:bytes=5",
    "Event": "type:int32=1 kv:KeyValue=2",
    "RangeRequest": "key:bytes=1 range_end:bytes=2",
    "RangeResponse": "header:ResponseHeader=1 kvs:KeyValue*=2",
    "PutRequest": "key:bytes=1 value:bytes=2 lease:int64=3",
    "DeleteRangeRequest": "key:bytes=1",
    "RequestOp": "request_range:RangeRequest=1 request_put:PutRequest=2 request_delete_range:DeleteRangeRequest=3",
    "ResponseOp": "response_range:RangeResponse=1",
    "Compare": "target:int32=2 key:bytes=3 create_revision:int64=5 mod_revision:int64=6",
    "TxnRequest": "compare:Compare*=1 success:RequestOp*=2 failure:RequestOp*=3",
    "TxnResponse": "header:ResponseHeader=1 succeeded:bool=2 responses:ResponseOp*=3",
    "LeaseGrantRequest": "TTL:int64=1",
    "LeaseGrantResponse": "ID:int64=2 TTL:int64=3",
    "LeaseKeepAliveRequest": "ID:int64=1",
    "LeaseKeepAliveResponse": "TTL:int64=3",
    "LeaseRevokeRequest": "ID:int64=1",
    "LeaseRevokeResponse": "",
    "WatchCreateRequest": "key:bytes=1 range_end:bytes=2 start_revision:int64=3",
    "WatchProgressRequest": "",
    "WatchRequest": "create_request:WatchCreateRequest=1 progress_request:WatchProgressRequest=3",
    "WatchResponse": ("canceled:bool=4 compact_revision:int64=5 cancel_reason:string=6 events:Event*=11"),
}

CREATE, MOD = 1, 2
"""``Compare.CompareTarget``: the revisions a key was created and last changed at; the comparison is for equality."""
DELETE_EVENT = 1
"""``Event.EventType``; a put is 0."""

CHANNEL_OPTIONS = (
    # Lists of thousands of configs exceed gRPC's default of 4 MiB; etcd itself sends without limit.
    ("grpc.max_receive_message_length", -1),
    # A new channel stands for a new attempt: it must not inherit the back-off of the one it replaces.
    ("grpc.use_local_subchannel_pool", 1),
)

REQUIRE_LEADER = (("hasleader", "true"),)
"""Makes etcd end a stream whose member has lost the majority, which otherwise would just fall silent."""

_SCALARS = {"int64": 3, "int32": 5, "bool": 8, "string": 9, "bytes": 12}
"""``FieldDescriptorProto.Type``."""
_MESSAGE, _OPTIONAL, _REPEATED = 11, 1, 3


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="foremesh/etcd.proto", package="etcdserverpb")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields.split():
            field_name, _, rest = field.partition(":")
            kind, _, number = rest.partition("=")
            added = message.field.add(name=field_name, number=int(number), label=_OPTIONAL)
            if kind.endswith("*"):
                added.label, kind = _REPEATED, kind[:-1]
            if kind in _SCALARS:
                added.type = _SCALARS[kind]
            else:
                added.type, added.type_name = _MESSAGE, f".etcdserverpb.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"etcdserverpb.{name}")) for name in MESSAGES
    }


_CLASSES = _classes()


def message(name: str, **fields: Any) -> Any:
    """A message of etcd's interface."""
    return _CLASSES[name](**fields)


class Tls:
    """Where the credentials of mutual TLS are; they are read whenever a connection is made, so rotation needs no
    restart."""

    def __init__(self, ca_file: Path, cert_file: Path, key_file: Path) -> None:
        self._ca_file, self._cert_file, self._key_file = ca_file, cert_file, key_file

    def read(self) -> grpc.ChannelCredentials:
        """Raises OSError if a file cannot be read."""
        return grpc.ssl_channel_credentials(
            root_certificates=self._ca_file.read_bytes(),
            private_key=self._key_file.read_bytes(),
            certificate_chain=self._cert_file.read_bytes(),
        )


class Connection:
    """A channel to one endpoint with the methods of etcd on it.

    A retired connection is closed when its last user leaves: closing it earlier would cancel streams that are well.
    """

    def __init__(self, endpoint: str, tls: Tls | None) -> None:
        self.endpoint = endpoint
        self.retired = False
        self._users = 0
        self._channel = (
            grpc.aio.secure_channel(endpoint, tls.read(), options=CHANNEL_OPTIONS)
            if tls
            else grpc.aio.insecure_channel(endpoint, options=CHANNEL_OPTIONS)
        )
        self.txn = self._method("unary_unary", "KV/Txn", "TxnResponse")
        self.grant = self._method("unary_unary", "Lease/LeaseGrant", "LeaseGrantResponse")
        self.revoke = self._method("unary_unary", "Lease/LeaseRevoke", "LeaseRevokeResponse")
        self.watch = self._method("stream_stream", "Watch/Watch", "WatchResponse")
        self._keep_alive = self._method("stream_stream", "Lease/LeaseKeepAlive", "LeaseKeepAliveResponse")

    async def keep_alive(self, request: Any, *, timeout: float) -> Any:  # noqa: ASYNC109 - as the generated methods
        """Renew a lease once; etcd offers that only as a stream."""
        stream = self._keep_alive(timeout=timeout, metadata=REQUIRE_LEADER)
        try:
            await stream.write(request)
            answer = await stream.read()
            if answer is not grpc.aio.EOF:
                return answer
        except asyncio.InvalidStateError:
            # The stream ended before the request was out.
            pass
        finally:
            stream.cancel()
        none = grpc.aio.Metadata()
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, none, none, "the stream ended without an answer")

    @contextlib.asynccontextmanager
    async def used(self) -> AsyncIterator[Self]:
        """Keep the connection open for as long as the context lasts, even if it is retired meanwhile."""
        self._users += 1
        try:
            yield self
        finally:
            self._users -= 1
            if self.retired and not self._users:
                await self.close()

    async def close(self) -> None:
        """Close the channel now; calls under way are cancelled."""
        await self._channel.close()

    def _method(self, kind: str, method: str, response: str) -> Any:
        return getattr(self._channel, kind)(
            f"/etcdserverpb.{method}",
            request_serializer=_serialize,
            response_deserializer=_CLASSES[response].FromString,
        )


def _serialize(request: Any) -> bytes:
    data: bytes = request.SerializeToString()
    return data
