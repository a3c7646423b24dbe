"""The protocol as bytes: codec, status table, method names. Protobuf objects do not leave this package."""
