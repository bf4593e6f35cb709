"""Brushwire's docker for Krita."""

from .krita.extension import register

register()
