"""Faces in pictures and videos, and what they show: no PyTorch in here."""
