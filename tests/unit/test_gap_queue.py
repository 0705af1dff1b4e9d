"""Whose gap is repaired next, and what one failure means for the others of its server."""

from router.intake.gap_queue import Gap, GapQueue

DELAYS = (2.0, 10.0)
A, B = "https://a.example", "https://b.example:8443/evolution"


def queue_of(**servers: str) -> GapQueue:
    queue = GapQueue(DELAYS)
    for instance, url in servers.items():
        queue.add(instance, url)
    return queue


def take_all(queue: GapQueue, now: float = 0.0) -> list[Gap]:
    taken = []
    while (gap := queue.take(now)) is not None:
        taken.append(gap)
    return taken


def names(gaps: list[Gap]) -> list[str]:
    return [gap.instance for gap in gaps]


def test_of_each_server_one_is_tried_and_when_it_has_answered_a_few():
    queue = queue_of(**{f"a{n}": A for n in range(10)}, b0=B, b1=B)
    first, other = take_all(queue)
    assert names([first, other]) == ["a0", "b0"]
    queue.done(first)
    several = take_all(queue)
    assert len(several) == 4
    assert {gap.server for gap in several} == {"a.example"}
    queue.done(several[0])
    assert len(take_all(queue)) == 1


def test_all_are_repaired_in_the_end_and_nothing_is_kept():
    queue = queue_of(**{f"a{n}": A for n in range(50)}, **{f"b{n}": B for n in range(50)})
    done = []
    while queue:
        for gap in take_all(queue):
            queue.done(gap)
            done.append(gap.instance)
    assert sorted(done) == sorted([f"a{n}" for n in range(50)] + [f"b{n}" for n in range(50)])
    assert not queue._servers


def test_one_failure_puts_off_all_instances_of_that_server_and_is_news_once():
    queue = queue_of(**{f"a{n}": A for n in range(5)}, b=B)
    a0, b = take_all(queue)
    assert queue.failed(a0, now=0.0)
    assert take_all(queue, 1.9) == []
    queue.done(b)
    assert queue.seconds_to_next(0.5) == 1.5
    (a1,) = take_all(queue, 2.0)
    assert a1.instance == "a1"
    assert not queue.failed(a1, now=2.0)
    assert take_all(queue, 11.9) == []
    (a2,) = take_all(queue, 12.0)
    assert not queue.failed(a2, now=12.0)
    (a3,) = take_all(queue, 22.0)  # the last delay again and again
    queue.done(a3)
    assert len(take_all(queue, 22.0)) == 4
    assert len(queue) == 4


def test_one_that_fails_where_the_others_do_not_keeps_none_of_them_and_is_given_up():
    queue = queue_of(ill=A, **{f"a{n}": A for n in range(60)})
    now, tries, done = 0.0, 0, 0
    while "ill" in queue._known and now < 10_000:
        gap = queue.take(now)
        if gap is None:
            now += 0.5
        elif gap.instance == "ill":
            tries += 1
            queue.failed(gap, now)
        else:
            queue.done(gap)
            done += 1
            queue.add(f"b{done}", A)  # others go on succeeding
    assert done > 10
    assert tries == 1 + len(DELAYS) + 1  # the first, before any other had an answer, tells nothing


def test_who_is_refused_puts_nobody_off():
    queue = queue_of(**{f"a{n}": A for n in range(3)})
    (a0,) = take_all(queue)
    assert queue.refused(a0)
    a1, a2 = take_all(queue)
    assert not queue.refused(a1)
    assert not queue.refused(a2)
    assert not queue


def test_who_has_just_reconnected_comes_first_also_where_the_server_is_put_off():
    queue = queue_of(**{f"a{n}": A for n in range(4)})
    (a0,) = take_all(queue)
    queue.failed(a0, now=0.0)
    queue.add("a3", first=True)
    (a3,) = take_all(queue, 1.0)
    assert a3.instance == "a3"
    assert queue.place(a3, A + "/", 1.0)
    queue.done(a3)
    rest = []
    while queue:
        for gap in take_all(queue, 1.0):
            rest.append(gap.instance)
            queue.done(gap)
    assert sorted(rest) == ["a0", "a1", "a2"]


def test_one_that_is_being_repaired_is_left_to_that():
    queue = queue_of(a=A)
    take_all(queue)
    queue.add("a", first=True)
    queue.add("a", A)
    assert take_all(queue) == []
    assert len(queue) == 1


def test_a_failure_of_ours_stops_no_server():
    queue = queue_of(a0=A, a1=A)
    (a0,) = take_all(queue)
    assert queue.put_back(a0)
    (again,) = take_all(queue)
    assert again is a0
    assert queue.put_back(again, to_the_end=True)
    (a1,) = take_all(queue)
    queue.drop(a1)
    for _ in range(len(DELAYS)):
        (gap,) = take_all(queue)
        queue.put_back(gap, to_the_end=True)
    assert take_all(queue) == []
    assert not queue
