"""Data sets as tensors: each option's constructor checks its settings, `load()` reads or makes the data."""

from fanin.parts.data.cifar import Cifar10, Cifar100
from fanin.parts.data.csv_table import Csv
from fanin.parts.data.dataset import Dataset, Source
from fanin.parts.data.digits import Digits
from fanin.parts.data.gaussian import Gaussian
from fanin.parts.data.image_folder import Folder
from fanin.parts.data.mnist import FashionMnist, Mnist
from fanin.parts.data.point import Point
from fanin.parts.data.text import Text

__all__ = [
    "Cifar10",
    "Cifar100",
    "Csv",
    "Dataset",
    "Digits",
    "FashionMnist",
    "Folder",
    "Gaussian",
    "Mnist",
    "Point",
    "Source",
    "Text",
]
