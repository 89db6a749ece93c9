"""fastdp: molecular dynamics with Deep Potential models.

Importing this package loads nothing heavy; the sub-packages do when they are used.
"""

__version__ = "0.1.0"
