"""Datasets: FER2013, FER+ votes, image folders and drawn faces, all as one ``FaceDataset``."""

from facelex.data.dataset import SPLITS, FaceDataset
from facelex.data.load import load_dataset

__all__ = ["SPLITS", "FaceDataset", "load_dataset"]
