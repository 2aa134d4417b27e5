"""The tasks with a value for every pixel, and those with boxes: data, reader and settings of each."""

from dataclasses import replace

from siglip2.evals import data_sets as data
from siglip2.evals import readers as read
from siglip2.evals.task import Task
from siglip2.evals.tasks.depth import DepthProbe, NormalsProbe
from siglip2.evals.tasks.open_vocabulary import OpenVocabularySegmentation
from siglip2.evals.tasks.pointing import PointingGame
from siglip2.evals.tasks.referring import ReferringExpressions
from siglip2.evals.tasks.segmentation import SegmentationProbe


def dense() -> list[Task]:
    """A value for every pixel, and boxes."""
    probe = SegmentationProbe
    probes = [
        probe(name="camvid", title="CamVid linear probe", data=(data.CAMVID,), read=read.camvid),
        probe(
            name="coco_mini_masks",
            title="COCO masks linear probe, 100 images",
            data=(data.COCO_MINI,),
            read=read.coco_mini_masks,
            test_split="val",
            steps=500,
        ),
        probe(
            name="ade20k",
            title="ADE20k linear probe",
            data=(data.ADE20K,),
            read=read.ade20k,
            train_split="training",
            test_split="validation",
            steps=40_000,
            published="ade20k",
        ),
        probe(
            name="pascal",
            title="PASCAL VOC linear probe",
            data=(data.PASCAL,),
            read=read.pascal,
            test_split="val",
            steps=10_000,
            published="pascal",
        ),
        DepthProbe(
            name="depth_rgbd",
            title="Depth linear probe, two rooms",
            data=(data.DEPTH_RGBD,),
            read=read.depth_rgbd,
        ),
        NormalsProbe(
            name="normals_rgbd",
            title="Surface normals linear probe, two rooms",
            data=(data.DEPTH_RGBD,),
            read=read.kitchen_rgbd,
            focal=585 / 640,
        ),
        DepthProbe(
            name="nyuv2_depth",
            title="NYUv2 depth linear probe",
            data=(data.NYUV2,),
            read=read.nyuv2,
            steps=38_400,
            published="nyuv2_depth",
        ),
        NormalsProbe(
            name="nyuv2_normals",
            title="NYUv2 surface normals linear probe",
            data=(data.NYUV2,),
            read=read.nyuv2,
            focal=518.9 / 640,
            steps=38_400,
            published="nyuv2_normals",
        ),
        DepthProbe(
            name="navi_depth",
            title="NAVI depth linear probe",
            data=(data.NAVI,),
            read=read.navi,
            test_split="val",
            steps=38_400,
            published="navi_depth",
        ),
        NormalsProbe(
            name="navi_normals",
            title="NAVI surface normals linear probe",
            data=(data.NAVI,),
            read=read.navi,
            test_split="val",
            steps=38_400,
            published="navi_normals",
        ),
    ]
    return [*probes, *map(_with_dpt, probes), *_without_training(), *_referring()]


def _with_dpt(probe: SegmentationProbe | DepthProbe | NormalsProbe) -> Task:
    """The same with a DPT head, which the paper fits beside the linear one; it prints one figure for both."""
    return replace(
        probe,
        name=f"{probe.name}_dpt",
        title=probe.title.replace("linear", "DPT"),
        head="dpt",
        # Its convolutions see more of the picture, and on small data it needs fewer steps.
        steps=min(probe.steps, 300) if probe.published is None else probe.steps,
    )


def _without_training() -> list[Task]:
    open_vocabulary = OpenVocabularySegmentation
    return [
        open_vocabulary(
            name="camvid_open_vocabulary",
            title="CamVid without training",
            data=(data.CAMVID,),
            read=read.camvid,
        ),
        open_vocabulary(
            name="coco_mini_open_vocabulary",
            title="COCO masks without training, 100 images",
            data=(data.COCO_MINI,),
            read=read.coco_mini_masks,
            test_split="val",
        ),
        open_vocabulary(
            name="ade20k_open_vocabulary",
            title="ADE20k without training",
            data=(data.ADE20K,),
            read=read.ade20k,
            test_split="validation",
        ),
        open_vocabulary(
            name="pascal_open_vocabulary",
            title="PASCAL VOC without training",
            data=(data.PASCAL,),
            read=read.pascal,
            test_split="val",
        ),
    ]


def _referring() -> list[Task]:
    return [
        ReferringExpressions(
            name="refcoco",
            title="RefCOCO, RefCOCO+ and RefCOCOg",
            data=(data.REFCOCO,),
            read_train=read.refcoco_train,
            tests=read.refcoco_tests(),
            steps=100_000,
            published="refcoco",
        ),
        ReferringExpressions(
            name="coco_mini_expressions",
            title="Template expressions over COCO, made by rule",
            data=(data.COCO_MINI,),
            read_train=read.expressions_train,
            tests={"accuracy@0.5": read.expressions_val},
            steps=100,
            blind=True,
        ),
        PointingGame(
            name="coco_mini_pointing",
            title="Pointing game over COCO, without training",
            data=(data.COCO_MINI,),
            read=read.expressions_val,
        ),
    ]
