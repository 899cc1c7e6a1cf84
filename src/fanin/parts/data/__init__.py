"""Data sets as tensors: each option's constructor checks its settings, `load()` reads or makes the data."""

from fanin.parts.data.csv_table import Csv
from fanin.parts.data.dataset import Dataset, Source
from fanin.parts.data.digits import Digits
from fanin.parts.data.gaussian import Gaussian
from fanin.parts.data.mnist import FashionMnist, Mnist
from fanin.parts.data.point import Point

__all__ = ["Csv", "Dataset", "Digits", "FashionMnist", "Gaussian", "Mnist", "Point", "Source"]
