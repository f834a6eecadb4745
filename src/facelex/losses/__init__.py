"""Losses: contrast between faces and words, contrast between faces, classification, and their sum."""
