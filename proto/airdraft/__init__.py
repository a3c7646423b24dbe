"""The agreement: everything that a device and a verifier must have in common, bit for bit."""

__version__ = "0.1.0"
PROTOCOL_VERSION = 1
