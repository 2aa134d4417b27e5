"""CLIP's data sets: where each publisher gives it, and under which licence."""

from siglip2.evals.data_sets import labelled_data_set
from siglip2.evals.task import DataSet

_NONE = "none stated, research use only"

SOURCES = {
    "birdsnap": ("thomasberg.org", _NONE),
    "cifar10": ("cs.toronto.edu/~kriz/cifar.html", "none stated"),
    "cifar100": ("cs.toronto.edu/~kriz/cifar.html", "none stated"),
    "clevr_counts": ("cs.stanford.edu/people/jcjohns/clevr", "CC BY 4.0"),
    "caltech101": ("data.caltech.edu/records/mzrjq-6wc02", "CC BY 4.0"),
    "country211": ("github.com/openai/CLIP/blob/main/data/country211.md", "Creative Commons, one each"),
    "dtd": ("robots.ox.ac.uk/~vgg/data/dtd", "research use only"),
    "eurosat": ("github.com/phelber/EuroSAT", "MIT"),
    "fgvc_aircraft": ("robots.ox.ac.uk/~vgg/data/fgvc-aircraft", "research use only"),
    "fer2013": ("kaggle.com/datasets/msambare/fer2013", _NONE),
    "flowers102": ("robots.ox.ac.uk/~vgg/data/flowers/102", "none stated"),
    "food101": ("data.vision.ee.ethz.ch/cvl/datasets_extra/food-101", _NONE),
    "gtsrb": ("benchmark.ini.rub.de", "none stated"),
    "kitti_distance": ("cvlibs.net/datasets/kitti", "CC BY-NC-SA 3.0"),
    "mnist": ("yann.lecun.com/exdb/mnist", "none stated"),
    "pets": ("robots.ox.ac.uk/~vgg/data/pets", "CC BY-SA 4.0"),
    "voc2007": ("host.robots.ox.ac.uk/pascal/VOC/voc2007", "Flickr terms"),
    "voc2007_multilabel": ("host.robots.ox.ac.uk/pascal/VOC/voc2007", "Flickr terms"),
    "pcam": ("github.com/basveeling/pcam", "CC0"),
    "resisc45": ("gcheng-nwpu.github.io", _NONE),
    "rendered_sst2": ("github.com/openai/CLIP/blob/main/data/rendered-sst2.md", "none stated"),
    "stl10": ("cs.stanford.edu/~acoates/stl10", f"ImageNet terms, {_NONE}"),
    "sun397": ("vision.princeton.edu/projects/2010/SUN", _NONE),
    "stanford_cars": ("ai.stanford.edu/~jkrause/cars/car_dataset.html", _NONE),
}  # fmt: skip
"""Page and licence, as far as the publishers' pages state one."""


def clip_data_set(folder: str, title: str) -> DataSet:
    """One of CLIP's data sets."""
    page, licence = SOURCES[folder]
    return labelled_data_set(folder, title, licence, page)
