"""The tasks of classification and retrieval: data, reader and settings of each."""

from dataclasses import replace

from siglip2.evals import data_sets as data
from siglip2.evals import readers as read
from siglip2.evals.class_names import clip_class_keys, clip_class_names, clip_data_sets, imagenet
from siglip2.evals.data_sets_clip import clip_data_set
from siglip2.evals.formats import text_in_images
from siglip2.evals.task import Task
from siglip2.evals.tasks.babel_imagenet import BabelImageNet
from siglip2.evals.tasks.bias import GenderAssociation, RepresentationBias
from siglip2.evals.tasks.choices import CaptionChoice
from siglip2.evals.tasks.composition import SugarCrepe, Winoground, read_winoground
from siglip2.evals.tasks.few_shot import FewShot
from siglip2.evals.tasks.linear_probe import LinearProbe
from siglip2.evals.tasks.retrieval import Retrieval
from siglip2.evals.tasks.zero_shot import ZeroShotClassification

XM3600_LANGUAGES = (
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "he", "hi", "hr", "hu", "id",
    "it", "ja", "ko", "mi", "nl", "no", "pl", "pt", "quz", "ro", "ru", "sv", "sw", "te", "th", "tr", "uk",
    "vi", "zh",
)  # fmt: skip
XTD10_LANGUAGES = ("en", "de", "fr", "cs", "zh", "ru", "pl", "tr", "ko", "it", "es")
FLICKR8K_LANGUAGES = ("en", "zh", "ar", "de", "fr_mt30k", "cs_mt30k")


def imagenet_family() -> list[Task]:
    """ImageNet and its relatives, and what is measured on the same images."""
    names, wnids = tuple(imagenet()["names"]), tuple(imagenet()["wnids"])
    zero_shot = ZeroShotClassification
    subset_a, subset_r = (imagenet()[key] for key in ("imagenet_a", "imagenet_r"))
    whole = zero_shot(
        name="imagenet",
        title="ImageNet zero-shot",
        data=(data.IMAGENET,),
        class_names=names,
        class_keys=wnids,
        published="imagenet",
    )
    tiny = zero_shot(name="tiny_imagenet", title="Tiny ImageNet zero-shot", data=(data.TINY_IMAGENET,))
    return [
        whole,
        zero_shot(
            name="imagenet_v2",
            title="ImageNet v2 zero-shot",
            data=(data.IMAGENET_V2,),
            split="test",
            class_names=names,
            class_keys=wnids,
            published="imagenet_v2",
        ),
        zero_shot(
            name="imagenet_real",
            title="ImageNet ReaL zero-shot",
            data=(data.IMAGENET_REAL,),
            class_names=names,
            class_keys=wnids,
            read=read.imagenet_real,
            published="imagenet_real",
        ),
        zero_shot(
            name="imagenet_a",
            title="ImageNet-A zero-shot",
            data=(data.IMAGENET_A,),
            split="test",
            class_names=tuple(names[index] for index in subset_a),
            class_keys=tuple(wnids[index] for index in subset_a),
        ),
        zero_shot(
            name="imagenet_r",
            title="ImageNet-R zero-shot",
            data=(data.IMAGENET_R,),
            split="test",
            class_names=tuple(names[index] for index in subset_r),
            class_keys=tuple(wnids[index] for index in subset_r),
        ),
        zero_shot(
            name="imagenet_sketch",
            title="ImageNet-Sketch zero-shot",
            data=(data.IMAGENET_SKETCH,),
            split="test",
            class_names=names,
            class_keys=wnids,
        ),
        zero_shot(
            name="objectnet",
            title="ObjectNet zero-shot",
            data=(data.OBJECTNET,),
            read=read.objectnet,
            class_names=names,
            class_keys=wnids,
            published="objectnet",
        ),
        FewShot(
            name="imagenet_10shot",
            title="ImageNet 10-shot",
            data=(data.IMAGENET,),
            published="imagenet_10shot",
        ),
        LinearProbe(name="imagenet_linear", title="ImageNet linear probe", data=(data.IMAGENET,)),
        tiny,
        FewShot(name="tiny_imagenet_10shot", title="Tiny ImageNet 10-shot", data=(data.TINY_IMAGENET,)),
        LinearProbe(
            name="tiny_imagenet_linear",
            title="Tiny ImageNet linear probe, 50 a class",
            data=(data.TINY_IMAGENET,),
            per_class=50,
        ),
        BabelImageNet(
            name="babel_imagenet",
            title="Babel-ImageNet",
            data=(data.BABEL_IMAGENET, data.IMAGENET),
            images=whole,
        ),
        BabelImageNet(
            name="babel_tiny_imagenet",
            title="Babel-ImageNet names over Tiny ImageNet",
            data=(data.BABEL_IMAGENET, data.TINY_IMAGENET),
            images=tiny,
        ),
        RepresentationBias(
            name="representation_bias",
            title="Representation bias over ImageNet",
            data=(data.IMAGENET,),
            images=whole,
            published="representation_bias",
        ),
        RepresentationBias(
            name="tiny_imagenet_representation_bias",
            title="Representation bias over Tiny ImageNet",
            data=(data.TINY_IMAGENET,),
            images=tiny,
        ),
        GenderAssociation(
            name="flickr8k_gender",
            title="Perceived gender and occupations, Flickr8k",
            data=(data.FLICKR8K, data.CAPTION_GENDER),
        ),
    ]


def clip_family() -> list[Task]:
    """CLIP's data sets."""
    tasks = [
        ZeroShotClassification(
            name=name,
            title=f"{entry['title']} zero-shot",
            data=(clip_data_set(name, entry["title"]),),
            split="test",
            class_names=clip_class_names(name),
            class_keys=clip_class_keys(name),
            templates=tuple(entry["templates"]),
        )
        for name, entry in clip_data_sets().items()
    ]
    pascal = next(task for task in tasks if task.name == "voc2007")
    several = replace(
        pascal,
        name="voc2007_multilabel",
        title="PascalVOC2007 zero-shot, several classes an image",
        data=(clip_data_set("voc2007_multilabel", pascal.title),),
        main="mean_average_precision",
    )
    return [*tasks, several]


def retrieval() -> list[Task]:
    """Captions and images, and near misses."""
    return [
        Retrieval(name="coco", title="COCO retrieval", data=(data.COCO,), read=read.coco, published="coco"),
        Retrieval(
            name="flickr30k",
            title="Flickr30k retrieval",
            data=(data.FLICKR30K,),
            read=read.flickr30k,
            published="flickr30k",
        ),
        Retrieval(
            name="xm3600",
            title="Crossmodal-3600, mean of 36 languages",
            data=(data.XM3600,),
            read=read.xm3600,
            languages=XM3600_LANGUAGES,
            published="xm3600",
        ),
        Retrieval(
            name="xtd10",
            title="XTD10, mean of 11 languages",
            data=(data.XTD10,),
            read=read.xtd10,
            languages=XTD10_LANGUAGES,
        ),
        Retrieval(
            name="multi30k",
            title="Multi30k, mean of four languages",
            data=(data.MULTI30K,),
            read=read.multi30k,
            languages=("en", "de", "fr", "cs"),
        ),
        Retrieval(
            name="flickr8k",
            title="Flickr8k, mean of six languages",
            data=(data.FLICKR8K,),
            read=read.flickr8k,
            languages=FLICKR8K_LANGUAGES,
        ),
        Retrieval(
            name="coco_mini", title="COCO captions, 283 images", data=(data.COCO_MINI,), read=read.coco_mini
        ),
        *(
            Retrieval(
                name=each.folder,
                title=f"{each.title} retrieval",
                data=(each,),
                read=read.text_in_images(reader),
                published=each.folder,
            )
            for each, reader in (
                (data.TEXTCAPS, text_in_images.read_textcaps),
                (data.HIERTEXT, text_in_images.read_hiertext),
                (data.SCICAP, text_in_images.read_scicap),
                (data.SCREEN2WORDS, text_in_images.read_screen2words),
            )
        ),
        Retrieval(
            name="captions",
            title="Captioned photos of your own",
            data=(data.OWN_CAPTIONS,),
            read=read.own_captions,
        ),
        CaptionChoice(
            name="coco_mini_counting",
            title="How many: captions by rule over COCO boxes",
            data=(data.COCO_MINI,),
            read=read.coco_mini_counts,
        ),
        CaptionChoice(
            name="coco_mini_relations",
            title="Where: captions by rule over COCO boxes",
            data=(data.COCO_MINI,),
            read=read.coco_mini_relations,
        ),
        SugarCrepe(name="sugarcrepe", title="SugarCrepe", data=(data.SUGARCREPE,)),
        Winoground(name="winoground", title="Winoground", data=(data.WINOGROUND,), read=read_winoground),
    ]
