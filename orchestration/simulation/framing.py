"""How many bytes a message has on the wire beyond its own: gRPC, HTTP/2, TLS, TCP and IP. Arithmetic from the standards."""

from __future__ import annotations

from pydantic import Field

from airdraft.settings import Settings

HTTP2_FRAME_BYTES = 9  # RFC 9113, section 4.1: the header of every frame
GRPC_PREFIX_BYTES = 5  # gRPC over HTTP/2: one flag, four of length
TLS_RECORD_BYTES = 16 * 1024  # RFC 8446, section 5.1: most plain bytes of one record
FRAME_LIMIT_BYTES = 16 * 1024  # RFC 9113, section 4.2: SETTINGS_MAX_FRAME_SIZE as it is by default


class Framing(Settings):
    """The layers under a message. The defaults are TLS 1.3 over IPv4 with TCP timestamps, on Ethernet's packet size.

    Not counted: acknowledgements that travel alone (one header per two segments, in the other direction), window updates, pings, and the
    HTTP headers of a stream's first frame.
    """

    tls_bytes: int = Field(22, ge=0, le=64, description="per record: 5 header, 1 type, 16 tag in TLS 1.3; 29 in TLS 1.2; 0 without TLS")
    header_bytes: int = Field(52, ge=0, le=256, description="per segment: IPv4 20 (IPv6 40), TCP 20, timestamps 12")
    segment_bytes: int = Field(1448, ge=64, le=65_535, description="most TCP payload of one packet")

    def overhead(self, message_bytes: int) -> int:
        """Bytes beside the message's own, when it is sent by itself.

        Every 16 KiB of gRPC message is an HTTP/2 DATA frame, every 16 KiB of those a TLS record, every `segment_bytes` of those a packet.
        A message of 0 bytes stands for the end of a stream: one frame, without gRPC's prefix.
        """
        prefixed = message_bytes + (GRPC_PREFIX_BYTES if message_bytes else 0)
        framed = prefixed + HTTP2_FRAME_BYTES * _pieces(prefixed, FRAME_LIMIT_BYTES)
        sealed = framed + self.tls_bytes * _pieces(framed, TLS_RECORD_BYTES)
        on_the_wire = sealed + self.header_bytes * _pieces(sealed, self.segment_bytes)
        return on_the_wire - message_bytes


BARE = Framing(tls_bytes=0, header_bytes=0)  # gRPC and HTTP/2 alone: what a proxy between two plain TCP sockets sees


def _pieces(size_bytes: int, limit_bytes: int) -> int:
    return max(-(-size_bytes // limit_bytes), 1)
