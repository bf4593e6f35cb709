"""Qt as this Krita has it: PyQt5 in Krita 5, PyQt6 in Krita 6. Everything else imports from here.

Enums are written in full (``Qt.AlignmentFlag.AlignLeft``): PyQt5 from 5.11 on knows both ways, PyQt6 only this one.
"""

from __future__ import annotations

try:
    from PyQt6 import QtCore, QtGui, QtWidgets
    from PyQt6.QtCore import pyqtSignal as Signal
    from PyQt6.QtGui import QAction

    QT = 6
except ImportError:
    from PyQt5 import QtCore, QtGui, QtWidgets
    from PyQt5.QtCore import pyqtSignal as Signal
    from PyQt5.QtWidgets import QAction

    QT = 5

__all__ = ["QT", "QAction", "QtCore", "QtGui", "QtWidgets", "Signal"]
