"""What a run says while it goes on."""

import io

from rich.console import Console

from raygen.pipeline import Progress
from raygen.progress import Bar, rate
from raygen.run_record import Steps


def test_rate_counts_the_persons_of_this_run_alone():
    progress = Progress(shards=10, shards_done=6, persons=1000, persons_done=600, persons_kept=200)
    assert rate(progress, 4.0) == "100 persons/s, 0:04 left"
    kept = Progress(shards=10, shards_done=2, persons=1000, persons_done=200, persons_kept=200)
    assert rate(kept, 4.0) == ""


def test_a_bar_names_the_step_and_then_the_shards():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160)
    with Bar(console) as bar:
        bar.begin("city")
        bar.show(Progress(4, 1, 400, 100, 0))
    text = screen.getvalue()
    assert text.index("opening the city") < text.index("generating")
    assert "1/4" in text


def test_steps_are_told_as_they_begin_and_timed_as_they_end():
    told: list[str] = []
    steps = Steps(told.append)
    with steps.step("city"):
        assert (told, steps.seconds) == (["city"], {})
    with steps.step("models"):
        pass
    assert told == list(steps.seconds) == ["city", "models"]
    assert all(seconds >= 0 for seconds in steps.seconds.values())
