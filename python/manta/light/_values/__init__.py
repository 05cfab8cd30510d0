"""The value format: one Python value as bytes that can be read in place, without pickle."""

from ._arrays import json_to_dtype
from ._decode import decode, decode_descriptor
from ._encode import Encoded, encode

__all__ = ["Encoded", "decode", "decode_descriptor", "encode", "json_to_dtype"]
