"""The version of iamsql, under the official name."""

from ... import __version__ as __version__
