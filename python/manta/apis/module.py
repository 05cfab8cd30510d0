"""The module interface, under the path that existing swarms import."""

from manta.apis._module import Module

__all__ = ["Module"]
