"""What people do at a POI: one published table from OSM tag to category and activity types.

Each row gives an OSM tag's category of UniMob, Table 2, its share of the category's POIs where POIs
are synthesised, and its top three activity types of DataFusion, Table 1, with probabilities, the
form of DataFusion 4.1.1. The probabilities are assumed: they state the judgement of a reader of
the tag, as the paper's heuristic baseline does, and sum to 1.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen.city_files.layout import TOP_TYPES
from raygen.taxonomy import ACTIVITY_TYPES, POI_CATEGORIES


@dataclass(frozen=True)
class PoiType:
    """One OSM tag and what it stands for."""

    tag: str
    """``key=value`` of OSM."""

    category: int
    """Index into POI_CATEGORIES."""

    share: float
    """Share of the category's synthesised POIs."""

    types: tuple[int, int, int]
    """Indices into ACTIVITY_TYPES, most probable first."""

    probabilities: tuple[float, float, float]
    """Of ``types``; they sum to 1."""


_TABLE = """
transportation  highway=bus_stop              .45  errands .50        work .30         pickup_drop .20
transportation  amenity=parking               .35  errands .40        work .35         pickup_drop .25
transportation  railway=station               .12  work .45           errands .35      pickup_drop .20
transportation  amenity=ferry_terminal        .08  other .45          pickup_drop .35  work .20
companies       office=company                .70  work .88           errands .07      other .05
companies       landuse=industrial            .20  work .92           errands .05      other .03
companies       office=government             .10  work .55           errands .40      other .05
residential     building=apartments           .55  home .78           social .17       caregiving .05
residential     landuse=residential           .40  home .78           social .16       caregiving .06
residential     amenity=nursing_home          .05  caregiving .45     social .30       work .25
automotive      amenity=fuel                  .35  errands .75        shop_goods .15   work .10
automotive      shop=car_repair               .40  shop_services .65  errands .20      work .15
automotive      amenity=car_wash              .25  errands .60        shop_services .30  work .10
education       amenity=school                .50  school .62         pickup_drop .23  work .15
education       amenity=kindergarten          .25  pickup_drop .50    caregiving .30   work .20
education       amenity=library               .15  leisure .50        school .30       errands .20
education       amenity=college               .10  school .75         work .20         leisure .05
sports          leisure=fitness_centre        .45  exercise .88       work .07         social .05
sports          leisure=sports_centre         .30  exercise .70       leisure .20      pickup_drop .10
sports          leisure=pitch                 .25  exercise .65       leisure .20      social .15
financial       amenity=bank                  .60  errands .75        work .20         shop_services .05
financial       office=insurance              .40  work .60           errands .25      shop_services .15
leisure         leisure=park                  .50  exercise .45       leisure .40      social .15
leisure         amenity=cinema                .15  leisure .80        social .15       work .05
leisure         amenity=bar                   .20  social .50         leisure .35      meals_out .15
leisure         amenity=community_centre      .15  social .45         leisure .35      other .20
healthcare      amenity=clinic                .45  healthcare .78     work .17         caregiving .05
healthcare      amenity=dentist               .25  healthcare .85     work .10         caregiving .05
healthcare      amenity=pharmacy              .20  shop_goods .45     healthcare .35   errands .20
healthcare      amenity=hospital              .10  healthcare .55     work .35         caregiving .10
tourism         tourism=attraction            .50  leisure .75        social .15       work .10
tourism         tourism=museum                .30  leisure .75        school .13       work .12
tourism         natural=beach                 .20  leisure .55        exercise .30     social .15
life_services   amenity=place_of_worship      .35  worship .82        social .12       other .06
life_services   shop=hairdresser              .35  shop_services .85  work .10         social .05
life_services   shop=laundry                  .18  errands .60        shop_services .32  work .08
life_services   amenity=post_office           .12  errands .85        work .10         shop_services .05
shopping        shop=supermarket              .30  shop_goods .85     work .10         errands .05
shopping        shop=clothes                  .30  shop_goods .82     work .10         leisure .08
shopping        shop=convenience              .30  shop_goods .75     errands .17      work .08
shopping        shop=mall                     .10  shop_goods .68     leisure .17      meals_out .15
hotels          tourism=hotel                 .75  other .50          work .30         leisure .20
hotels          tourism=motel                 .25  other .65          work .20         leisure .15
dining          amenity=restaurant            .48  meals_out .80      social .12       work .08
dining          amenity=fast_food             .32  meals_out .88      work .07         pickup_drop .05
dining          amenity=cafe                  .20  meals_out .70      social .20       work .10
"""  # noqa: E501


def _parse(line: str) -> PoiType:
    category, tag, share, *words = line.split()
    first, second, third = (ACTIVITY_TYPES.index(word) for word in words[::2])
    p, q, r = (float(word) for word in words[1::2])
    return PoiType(
        tag=tag,
        category=POI_CATEGORIES.index(category),
        share=float(share),
        types=(first, second, third),
        probabilities=(p, q, r),
    )


POI_TYPES = tuple(_parse(line) for line in _TABLE.strip().splitlines())
"""The table, in the order of POI_CATEGORIES."""


def type_given_category() -> npt.NDArray[np.float64]:
    """Return P(activity type | POI category), shape (14, 15), by the table's shares."""
    table = np.zeros((len(POI_CATEGORIES), len(ACTIVITY_TYPES)))
    for row in POI_TYPES:
        table[row.category, list(row.types)] += row.share * np.array(row.probabilities)
    return table


def annotations() -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return the top types and probabilities of each row of POI_TYPES, both of shape (P, 3)."""
    types = np.array([row.types for row in POI_TYPES], dtype=np.int8)
    probabilities = np.array([row.probabilities for row in POI_TYPES], dtype=np.float32)
    return types.reshape(-1, TOP_TYPES), probabilities.reshape(-1, TOP_TYPES)
