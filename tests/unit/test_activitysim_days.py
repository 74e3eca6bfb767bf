import numpy as np
import pytest

from raygen.errors import DataError
from raygen.taxonomy import ACTIVITY_TYPES, DEMOGRAPHIC_GROUPS
from training.activitysim_days import PURPOSES, read_activitysim

PERSONS = """person_id,household_id,age,sex,pemploy,pstudent
10,1,40,2,1,3
11,1,9,1,4,1
12,2,70,1,3,3
13,2,20,2,2,2
"""
TOURS = """tour_id,person_id,tour_type,tour_category,start,end,parent_tour_id
100,10,work,mandatory,8,17,
101,10,eat,atwork,12,13,100
102,10,shopping,non_mandatory,18,19,
103,11,school,mandatory,8,15,
104,10,eatout,joint,20,21,
105,13,univ,mandatory,9,14,
"""
# The tours of person 10 stand out of order, and the one from work after the way home.
TRIPS = """trip_id,person_id,tour_id,outbound,purpose,depart
1,10,102,True,shopping,18
2,10,102,False,Home,19
3,10,100,True,escort,8
4,10,100,True,work,8
5,10,100,False,othmaint,17
6,10,100,False,Home,17
7,10,101,True,atwork,12
8,10,101,False,Work,13
9,11,103,True,school,8
10,11,103,False,Home,15
11,10,104,True,eatout,20
12,10,104,False,Home,21
13,13,105,True,univ,9
14,13,105,False,Home,14
"""
JOINT = "participant_id,tour_id,person_id\n1,104,10\n2,104,11\n"


def write(directory, **change):
    files = {"persons": PERSONS, "tours": TOURS, "trips": TRIPS} | change
    files = {"joint_tour_participants": JOINT} | files
    for name, text in files.items():
        if text is not None:
            (directory / f"survey_{name}.csv").write_text(text)
    return directory


def day(survey, person):
    row = survey.person_id.tolist().index(person)
    part = slice(survey.first_stop[row], survey.first_stop[row + 1])
    return [PURPOSES[code][0] for code in survey.purpose[part].tolist()], survey.arrival[part]


def test_tours_are_chained_and_those_from_work_stand_inside(tmp_path):
    survey = read_activitysim(write(tmp_path))
    purposes, arrival = day(survey, 10)
    assert purposes == [
        "pickup_drop", "work", "meals_out", "work", "errands", "home", "shop_goods", "home",
        "meals_out", "home",
    ]  # fmt: skip
    assert (np.diff(arrival) > 0).all()
    # Departures are at 8, 8, 12, 13, 17, 17, 18, 19, 20, 21 h; 15 minutes later is the arrival.
    hour = np.array([8, 8, 12, 13, 17, 17, 18, 19, 20, 21])
    assert ((arrival >= 4 * hour + 1) & (arrival <= 4 * hour + 6)).all()


def test_a_joint_tour_is_one_of_each_participant(tmp_path):
    assert day(read_activitysim(write(tmp_path)), 11)[0] == ["school", "home", "meals_out", "home"]


def test_persons_have_groups_and_those_without_trips_are_left_out(tmp_path):
    survey = read_activitysim(write(tmp_path))
    assert survey.person_id.tolist() == [10, 11, 13]
    assert survey.counts["persons_without_trips"] == 1
    assert [DEMOGRAPHIC_GROUPS[group] for group in survey.group] == [
        "mid_aged_female_worker", "young_male_non_worker", "young_female_worker",
    ]  # fmt: skip
    assert survey.row.tolist() == [3, 12, 1]
    assert survey.student.tolist() == [0, 1, 2]
    assert survey.split[0] == survey.split[1]  # one household


def test_every_code_stands_for_known_types():
    words = [word for types in PURPOSES.values() for word in types]
    assert set(words) <= set(ACTIVITY_TYPES)
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trips": TRIPS.replace("escort", "yoga")}, "purpose: must be one of .*got 'yoga' in row 2"),
        ({"trips": TRIPS.replace("9,11,103", "9,11,999")}, "tour_id: 1 rows name an unknown one, first 999"),
        ({"trips": TRIPS.replace("11,10,104,True", "11,77,104,True")}, "person_id: 1 rows.*first 77"),
        ({"trips": TRIPS.replace("eatout,20", "eatout,24")}, "depart: must be an hour, 0 to 23, got 8 to 24"),
        ({"trips": TRIPS.replace("eatout,20", "eatout,20.5")}, "depart: must be whole numbers"),
        ({"trips": TRIPS.replace(",depart", ",hour")}, r"columns are missing: \['depart'\]"),
        ({"persons": PERSONS.replace("70,1,3", "70,3,3")}, "sex: must be one of .*, got 3 in row 2"),
        ({"persons": PERSONS.replace("\n11,", "\n10,")}, "person_id: ids must differ"),
        ({"persons": None}, r"survey_persons.csv: cannot be read as CSV"),
        ({"joint_tour_participants": None}, "participants.csv: cannot be read as CSV"),
        ({"joint_tour_participants": JOINT.replace("person_id", "who")}, r"missing: \['person_id'\]"),
        ({"tours": TOURS.replace("13,100\n", "13,555\n")}, "parent_tour_id: 1 rows.*first 555"),
        ({"tours": TOURS.replace("101,10,eat", "101,10,nap")}, "atwork with a tour_type"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        read_activitysim(write(tmp_path, **change))


def test_days_out_of_order_are_counted_and_left_out(tmp_path):
    survey = read_activitysim(write(tmp_path, trips=TRIPS.replace("univ,9", "univ,15")))
    assert survey.person_id.tolist() == [10, 11]
    assert survey.counts["days_out_of_order"] == 1
