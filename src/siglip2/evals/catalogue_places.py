"""Tasks over places and incomes, and over photos of one's own."""

from siglip2.evals import data_sets as data
from siglip2.evals import readers as read
from siglip2.evals.task import Task
from siglip2.evals.tasks.few_shot import FewShot
from siglip2.evals.tasks.places import PlacesFewShot, PlacesZeroShot
from siglip2.evals.tasks.zero_shot import ZeroShotClassification


def own() -> list[Task]:
    """Labelled photos of one's own, in any of the formats."""
    return [
        ZeroShotClassification(
            name="classes", title="Labelled photos of your own", data=(data.OWN_CLASSES,), split="test"
        ),
        FewShot(
            name="classes_10shot",
            title="Labelled photos of your own, 10-shot",
            data=(data.OWN_CLASSES,),
            test_split="test",
        ),
    ]


def places() -> list[Task]:
    """Places and incomes."""
    return [
        PlacesZeroShot(
            name="dollar_street",
            title="Dollar Street zero-shot",
            data=(data.DOLLAR_STREET,),
            read=read.dollar_street,
            group="income",
            published="dollar_street",
        ),
        PlacesFewShot(
            name="dollar_street_10shot",
            title="Dollar Street 10-shot country",
            data=(data.DOLLAR_STREET,),
            read=read.dollar_street,
            column="country",
            published="dollar_street_10shot",
        ),
        PlacesZeroShot(
            name="geode",
            title="GeoDE zero-shot",
            data=(data.GEODE,),
            read=read.geode,
            group="region",
            published="geode",
        ),
        PlacesFewShot(
            name="geode_country_10shot",
            title="GeoDE 10-shot country",
            data=(data.GEODE,),
            read=read.geode,
            column="country",
            published="geode_country_10shot",
        ),
        PlacesFewShot(
            name="geode_region_10shot",
            title="GeoDE 10-shot region",
            data=(data.GEODE,),
            read=read.geode,
            column="region",
            published="geode_region_10shot",
        ),
        PlacesZeroShot(
            name="gldv2",
            title="Google Landmarks v2 zero-shot",
            data=(data.LANDMARKS,),
            read=read.landmarks,
            published="gldv2",
        ),
    ]
