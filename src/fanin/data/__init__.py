"""Data sets as tensors: each option's constructor checks its settings, `load()` reads or makes the data."""

from fanin.data.dataset import Dataset, Source
from fanin.data.digits import Digits
from fanin.data.gaussian import Gaussian
from fanin.data.mnist import FashionMnist, Mnist
from fanin.data.point import Point

__all__ = ["Dataset", "Digits", "FashionMnist", "Gaussian", "Mnist", "Point", "Source"]
