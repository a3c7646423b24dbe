"""Generated from airdraft.proto by `python -m airdraft.wire.generate`."""
