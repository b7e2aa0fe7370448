"""Scores that can be worked out by hand, and a referee that works out many."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_table import SPACE, unit, video

from index.near import Near
from index.records import MODALITIES, Space, Tag, Video
from index.search import WORDS, Hit, Query, Searcher
from index.table import Upkeep, VideoTable
from index.where import parse

EAST, NORTH = unit(1, 0, 0, 0), unit(0, 1, 0, 0)
TEXT_A, TEXT_B = unit(1, 0, 0), unit(0, 1, 0)
SOUND_A, SOUND_B = unit(1, 0), unit(0, 1)


def searcher(folder: Path, *videos: Video, space: Space = SPACE) -> Searcher:
    table = VideoTable.open(folder, space)
    table.upsert(videos)
    return Searcher(table)


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.video_id for hit in hits]


def test_contributions_are_those_worked_out_by_hand_and_add_up(tmp_path: Path) -> None:
    rows = searcher(tmp_path, video("a", {"vision": unit(3, 4, 0, 0), "text": TEXT_B, "sound": SOUND_A}))
    (hit,) = rows.search(Query(vectors={"vision": EAST, "text": TEXT_A, "sound": SOUND_A}))
    assert hit.modalities == pytest.approx({"vision": 0.5 * 0.6, "text": 0.0, "sound": 0.2})
    assert hit.score == pytest.approx(0.5)
    (hit,) = rows.search(Query(vectors={"vision": EAST, "text": -TEXT_B}, weights={"vision": 3, "text": 1}))
    assert hit.modalities == pytest.approx({"vision": 0.75 * 0.6, "text": -0.25})
    assert hit.score == pytest.approx(sum(hit.modalities.values()))


def test_a_row_without_sound_is_not_punished(tmp_path: Path) -> None:
    rows = searcher(
        tmp_path,
        video("silent twin", {"vision": EAST}),
        video("half alike", {"vision": unit(1, 1, 0, 0), "sound": SOUND_A}),
        video("only text", {"text": TEXT_A}),
    )
    hits = rows.search(Query(vectors={"vision": EAST, "sound": SOUND_A}))
    assert ids(hits) == ["silent twin", "half alike"]
    assert hits[0].modalities == {"vision": pytest.approx(1.0)}
    assert hits[1].score == pytest.approx((0.5 * math.sqrt(0.5) + 0.2) / 0.7)


def test_weights_change_the_order(tmp_path: Path) -> None:
    rows = searcher(
        tmp_path,
        video("looks", {"vision": EAST, "sound": SOUND_B}),
        video("sounds", {"vision": NORTH, "sound": SOUND_A}),
    )
    both = {"vision": EAST, "sound": SOUND_A}
    assert ids(rows.search(Query(vectors=both))) == ["looks", "sounds"]
    assert ids(rows.search(Query(vectors=both, weights={"vision": 0.4, "sound": 0.6}))) == ["sounds", "looks"]
    (first, second) = rows.search(Query(vectors=both, weights={"sound": 1}))
    assert (first.modalities, second.modalities) == ({"sound": pytest.approx(1)}, {"sound": pytest.approx(0)})


def test_equal_scores_come_by_id_and_the_query_itself_can_be_left_out(tmp_path: Path) -> None:
    rows = searcher(tmp_path, *[video(name) for name in "dbeca"])
    assert ids(rows.search(Query(vectors={"vision": EAST}, k=3))) == ["a", "b", "c"]
    assert ids(rows.search(Query(vectors={"vision": EAST}, k=9, exclude=frozenset("ac")))) == ["b", "d", "e"]


def test_an_empty_table_has_no_hits(tmp_path: Path) -> None:
    rows = searcher(tmp_path)
    assert rows.search(Query(vectors={"vision": EAST}, words="cat")) == []
    assert list(rows.neighbours(5)) == []


def test_private_and_removed_videos_are_found_only_when_asked_for(tmp_path: Path) -> None:
    rows = searcher(tmp_path, *[video(v, caption="cat", visibility=v) for v in ("public", "private", "removed")])
    for query in (Query(vectors={"vision": EAST}), Query(words="cat")):
        assert ids(rows.search(query)) == ["public"]
        assert len(rows.search(replace(query, include_hidden=True))) == 3
    assert rows.search(Query(words="cat", where=parse("visibility = 'private' or partial = false"))) != []
    assert ids(rows.search(Query(words="cat", where=parse("visibility = 'private' or partial = false")))) == ["public"]


def test_filters_hold_for_vectors_and_words(tmp_path: Path) -> None:
    rows = searcher(
        tmp_path,
        video("short", caption="cat", duration_s=5.0, hashtags=("猫",)),
        video("long", caption="cat", duration_s=50.0, hashtags=("dog",)),
    )
    for where, wanted in (("duration_s < 30", ["short"]), ("hashtag = 'dog'", ["long"]), ("width > 9", [])):
        assert ids(rows.search(Query(vectors={"vision": EAST}, where=parse(where)))) == wanted
        assert ids(rows.search(Query(words="cat", where=parse(where)))) == wanted


def test_words_contribute_the_share_of_idf_squared(tmp_path: Path) -> None:
    rows = searcher(
        tmp_path,
        video("both", caption="red car"),
        video("red", caption="red dress"),
        video("none", {"vision": NORTH}),
    )
    red, car = math.log(4 / 2.5), math.log(4 / 1.5)
    hits = {hit.video_id: hit for hit in rows.search(Query(words="a RED car"))}
    assert hits["both"].modalities == {WORDS: pytest.approx(1.0)}
    assert hits["red"].score == pytest.approx((red / (red + car)) ** 2)
    assert "none" not in hits
    hits = {hit.video_id: hit for hit in rows.search(Query(words="red car", vectors={"vision": EAST}))}
    assert hits["both"].modalities == pytest.approx({"vision": 0.5, WORDS: 0.5})
    assert hits["none"].modalities == pytest.approx({"vision": 0.0})
    weighed = Query(words="red car", vectors={"vision": EAST}, weights={"vision": 1, WORDS: 3})
    assert rows.search(weighed)[0].modalities == pytest.approx({"vision": 0.25, WORDS: 0.75})


def test_a_rare_script_ranks_above_what_the_encoder_takes_for_alike(tmp_path: Path) -> None:
    unknown_to_the_encoder = TEXT_A
    captions = {"cat": "我的小猫", "dog": "我的狗", "thai": "แมวน่ารัก", "arabic": "قطتي", "tagged": "no caption"}
    rows = searcher(
        tmp_path, *[video(n, {"text": unit(1, i * 0.1, 0)}, caption=c) for i, (n, c) in enumerate(captions.items())]
    )
    for words, first in (("猫", "cat"), ("狗", "dog"), ("แมว", "thai"), ("قطتي", "arabic")):
        hits = rows.search(Query(words=words, vectors={"text": unknown_to_the_encoder}))
        assert hits[0].video_id == first
        assert len(hits) == 5
        assert [WORDS in hit.modalities for hit in hits] == [True, False, False, False, False]


def test_a_row_is_found_by_words_that_are_seen_heard_or_tagged(tmp_path: Path) -> None:
    rows = searcher(
        tmp_path,
        video("seen", {"vision": EAST}, tags=(Tag(name="Egyptian cat", probability=0.4),)),
        video("shown", {}, onscreen_text="CAT SALE"),
        video("said", {}, transcript="look at the cats"),
        video("tagged", {}, hashtags=("cat_life",)),
        video("else", {}, caption="caterpillar"),
    )
    hits = rows.search(Query(words="cat", vectors={"text": TEXT_A}))
    assert sorted(ids(hits)) == ["said", "seen", "shown", "tagged"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (Query(), "nothing to search by"),
        (Query(words=" "), "nothing to search by"),
        (Query(vectors={"vision": EAST}, weights={"sound": 1.0}), "nothing to search by"),
        (Query(vectors={"smell": EAST}), "the space has vision, text, sound"),
        (Query(vectors={"vision": SOUND_A}), r"vision wants shape \(4,\), got \(2,\)"),
        (Query(vectors={"vision": EAST * 2}), "of length 2.0"),
        (Query(vectors={"vision": EAST}, weights={"smell": 1.0}), "no modality smell to weigh"),
        (Query(vectors={"vision": EAST}, weights={"vision": -1.0}), "not negative"),
        (Query(vectors={"vision": EAST}, weights={"vision": math.nan}), "not negative"),
    ],
)
def test_a_query_that_cannot_be_answered_says_why(query: Query, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        searcher(tmp_path, video("a")).search(query)


WIDE = Space(
    name="wide",
    spec={},
    dims={"vision": 32, "text": 16, "sound": 16},
    weights={"vision": 0.6, "text": 0.3, "sound": 0.1},
)


def random_vectors(rng: np.random.Generator, centres: np.ndarray[Any, Any] | None = None) -> dict[str, Any]:
    """Unit vectors of one to three modalities, around one of the centres if there are some."""
    drawn = rng.standard_normal(64) * 0.7 + (0 if centres is None else centres[rng.integers(len(centres))])
    present = [name for name in MODALITIES if rng.random() < 0.7] or ["vision"]
    parts = dict(zip(MODALITIES, np.split(drawn, [32, 48]), strict=True))
    return {name: unit(*parts[name]) for name in present}


def referee(
    query: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], weights: Mapping[str, float]
) -> list[tuple[str, float]]:
    scored = []
    for video_id, vectors in rows.items():
        both = [name for name in query if name in vectors]
        if both:
            total = sum(weights[name] for name in both)
            cosines = [
                weights[n] * sum(float(a) * float(b) for a, b in zip(query[n], vectors[n], strict=True)) for n in both
            ]
            scored.append((video_id, sum(cosines) / total))
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))


def test_random_rows_come_in_the_order_of_a_brute_force_referee(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    rows = {f"v{i:03}": random_vectors(rng) for i in range(300)}
    rows |= {f"w{i:03}": rows[f"v{i:03}"] for i in range(20)}
    queries = [random_vectors(rng) for _ in range(70)]
    table = VideoTable.open(tmp_path, WIDE)
    for start in range(0, 320, 80):
        table.upsert([video(n, rows[n], space=WIDE) for n in sorted(rows)[start : start + 80]])
    found = Searcher(table)
    for query, hits in zip(queries, found.search_many(Query(vectors=q, k=25) for q in queries), strict=True):
        wanted = referee(query, rows, WIDE.weights)[:25]
        assert ids(hits) == [video_id for video_id, _ in wanted]
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in wanted], abs=1e-6)
        assert hits == found.search(Query(vectors=query, k=25))
    table.delete(["v000", "v001"])
    table.upsert([video("v002", rows["v100"], space=WIDE, revision=2)])
    changed = {**rows, "v002": rows["v100"]}
    del changed["v000"], changed["v001"]
    for query in queries[:5]:
        assert ids(found.search(Query(vectors=query, k=400))) == [v for v, _ in referee(query, changed, WIDE.weights)]


def test_neighbours_of_all_are_the_hits_of_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = {f"v{i:03}": random_vectors(rng) for i in range(90)} | {"empty": {}, "hidden": random_vectors(rng)}
    found = searcher(
        tmp_path,
        *[video(n, v, space=WIDE, visibility="private" if n == "hidden" else "public") for n, v in rows.items()],
        space=WIDE,
    )
    neighbours = dict(found.neighbours(4))
    assert list(neighbours) == sorted(set(rows) - {"hidden"})
    assert neighbours["empty"] == []
    shown = {name: vectors for name, vectors in rows.items() if name != "hidden"}
    for name in ("v000", "v050", "v089"):
        others = {other: vectors for other, vectors in shown.items() if other != name}
        assert ids(neighbours[name]) == [v for v, _ in referee(rows[name], others, WIDE.weights)[:4]]
    assert neighbours["v001"] == found.search(Query(vectors=rows["v001"], k=4, exclude=frozenset(["v001"])))


def test_the_vector_index_finds_what_the_exact_search_finds(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    centres = rng.standard_normal((20, 64))
    table = VideoTable.open(tmp_path, WIDE)
    videos = [video(f"v{i:04}", random_vectors(rng, centres), space=WIDE, caption=f"w{i % 500}") for i in range(4_000)]
    table.upsert(videos[:3_000])
    assert table.optimize_if_due(Upkeep(vector_index_rows=2_000))
    table.upsert(videos[3_000:])  # not in the index, and found nevertheless
    queries = [Query(vectors=random_vectors(rng, centres), k=10) for _ in range(40)]
    indexed = [Searcher(table).search(query) for query in queries]
    exact = list(Searcher(table).search_many(queries * 7))[:40]
    shared = sum(len(set(ids(one)) & set(ids(other))) for one, other in zip(indexed, exact, strict=True))
    assert shared / 400 >= 0.98
    assert [one[0] for one in indexed] == [other[0] for other in exact]
    late = Query(vectors=dict(videos[3_500].vectors), words="w0", where=parse("video_id >= 'v3000'"), k=3)
    assert Searcher(table).search(late)[0].modalities[WORDS] == pytest.approx(0.5)
    assert ids(Searcher(table).search(Query(words="w7", k=9))) == [f"v{i:04}" for i in range(7, 4_000, 500)]


def test_a_server_that_keeps_rows_in_memory_answers_exactly_beside_an_index(tmp_path: Path) -> None:
    rng = np.random.default_rng(13)
    rows = {f"v{i:04}": random_vectors(rng) for i in range(2_200)}
    table = VideoTable.open(tmp_path, WIDE)
    table.upsert([video(name, vectors, space=WIDE) for name, vectors in rows.items()])
    assert table.optimize_if_due(Upkeep(vector_index_rows=2_000))
    kept, indexed, small = Searcher(table, kept_rows=10_000), Searcher(table), Searcher(table, kept_rows=100)
    for _ in range(20):
        query = random_vectors(rng)
        hits = kept.search(Query(vectors=query, k=10))
        assert [hit.score for hit in hits] == pytest.approx(
            [score for _, score in referee(query, rows, WIDE.weights)[:10]], abs=1e-6
        )
    for name in ("v0000", "v2199"):
        for one in (kept, indexed, small):
            found = one.vectors_of(name)
            assert found is not None
            assert {part: vector.tolist() for part, vector in found.items()} == {
                part: vector.tolist() for part, vector in rows[name].items()
            }
    for one in (kept, indexed, small):
        assert one.glances(["v0003", "nobody", "v0001"]) == {
            name: video(name, rows[name], space=WIDE).glance for name in ("v0003", "v0001")
        }
    assert [one.vectors_of("nobody") for one in (kept, indexed, small)] == [None] * 3
    table.delete(["v0000"])
    assert kept.vectors_of("v0000") is None


def test_threads_get_the_same_hits_as_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    found = searcher(
        tmp_path,
        *[video(f"v{i}", random_vectors(rng), space=WIDE, caption=f"w{i % 9}") for i in range(200)],
        space=WIDE,
    )
    queries = [Query(vectors=random_vectors(rng), words=f"w{i % 9}") for i in range(40)]
    alone = [found.search(query) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(Searcher(found.table).search, queries)) == alone


WRITER = """
import sys; sys.path[:0] = sys.argv[2:]
from test_table import SPACE, unit, video
from index.table import Upkeep, VideoTable
table = VideoTable.open(sys.argv[1], SPACE)
for i in range(40):
    table.upsert([video(f"{i:03}-{j}", caption="cat") for j in range(5)])
    table.optimize_if_due(Upkeep(fragments=8))
"""


def test_searches_beside_a_writing_process_see_whole_commits(tmp_path: Path) -> None:
    here = Path(__file__).parent
    found = searcher(tmp_path)
    counts = [len(found.search(Query(words="cat")))]  # imports what takes longer than the writer
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(here), str(here.parent)]) as child:
        while child.poll() is None:
            counts.append(len(found.search(Query(vectors={"vision": EAST}, words="cat", k=500))))
    assert child.returncode == 0
    counts.append(len(found.search(Query(vectors={"vision": EAST}, k=500))))
    assert counts == sorted(counts)
    assert {count % 5 for count in counts} == {0}
    assert counts[-1] == 200
    assert len(set(counts)) > 3


# In memory, by neighbourhoods ------------------------------------------------------------------------------------


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbourhoods from 500 rows on, all of which are looked through: what is missed then is a mistake of ours."""
    monkeypatch.setattr("index.search.ROWS_MIN", 500)
    monkeypatch.setattr("index.search.FEW_ROWS", 20)
    monkeypatch.setattr("index.near.LOOKED_THROUGH", 1.0)


@pytest.mark.usefixtures("few_are_many")
def test_neighbourhoods_find_what_a_pass_over_all_rows_finds(tmp_path: Path) -> None:
    rng = np.random.default_rng(21)
    rows = {f"v{i:04}": random_vectors(rng) for i in range(1_200)}
    for i, vectors in enumerate(rows.values()):
        if i % 3 == 0 and len(vectors) > 1:
            vectors.pop("sound", None)
    table = VideoTable.open(tmp_path, WIDE)
    videos = [video(name, vectors, space=WIDE, caption=f"w{i % 50}", visibility="private" if i % 10 == 0 else "public")
              for i, (name, vectors) in enumerate(rows.items())]  # fmt: skip
    table.upsert(videos)
    near, whole = Searcher(table, kept_rows=5_000), Searcher(table)
    for number in range(40):
        query = Query(
            vectors=random_vectors(rng),
            words=f"w{number}" if number % 2 else None,
            where=parse("video_id >= 'v0900'")
            if number % 3 == 0
            else parse("video_id < 'v0009'")
            if number % 5 == 0
            else None,
            weights={"vision": 1.0, "text": 0.2, "sound": 0.4} if number % 4 == 0 else None,
            k=10,
            exclude=frozenset(["v0001"]),
        )
        assert [(hit.video_id, round(hit.score, 9)) for hit in near.search(query)] == [
            (hit.video_id, round(hit.score, 9)) for hit in whole.search(query)
        ]
    assert near._near is not None
    assert whole._near is None


@pytest.mark.usefixtures("few_are_many")
def test_neighbourhoods_follow_what_is_written_changed_and_deleted(tmp_path: Path) -> None:
    rng = np.random.default_rng(22)
    table = VideoTable.open(tmp_path, WIDE)
    near, whole = Searcher(table, kept_rows=50_000), Searcher(table)
    known: dict[str, Mapping[str, Any]] = {}

    def write(names: Sequence[str], revision: int) -> None:
        new = {name: random_vectors(rng) for name in names}
        known.update(new)
        table.upsert([video(name, vectors, space=WIDE, revision=revision) for name, vectors in new.items()])

    def check() -> None:
        for name in rng.choice(sorted(known), 12).tolist():
            query = Query(vectors=known[name], k=5)
            assert ids(near.search(query)) == ids(whole.search(query))
            assert near.search(query)[0].video_id == name

    write([f"a{i:03}" for i in range(600)], 1)
    check()
    write([f"b{i:03}" for i in range(40)], 1)
    check()
    write([f"a{i:03}" for i in range(0, 600, 7)], 2)
    check()
    gone = [f"a{i:03}" for i in range(100, 200)]
    table.delete(gone)
    known = {name: vectors for name, vectors in known.items() if name not in gone}
    check()
    for step in range(6):
        write([f"c{step}{i:02}" for i in range(10)], 1)
        check()
    table.optimize_if_due(Upkeep(fragments=2))
    check()
    write([f"d{i:04}" for i in range(3_000)], 1)
    check()


def test_what_neighbourhoods_would_miss_is_scored_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.search.ROWS_MIN", 500)
    monkeypatch.setattr("index.search.FEW_ROWS", 350)  # those without a picture, not those without sound
    rng = np.random.default_rng(24)
    centres = [rng.standard_normal((30, dim)) for dim in WIDE.dims.values()]

    def drawn(left_out: str = "") -> dict[str, Any]:
        """Each modality around a centre of its own."""
        parts = {n: unit(*(c[rng.integers(30)] + 0.3 * rng.standard_normal(c.shape[1])))
                 for n, c in zip(WIDE.dims, centres, strict=True)}  # fmt: skip
        return {name: part for name, part in parts.items() if name != left_out}

    table = VideoTable.open(tmp_path, WIDE)
    rows = {f"v{i:04}": drawn("vision" if i % 9 == 0 else "sound" if i % 7 == 0 else "") for i in range(3_000)}
    table.upsert(
        [video(name, vectors, space=WIDE, caption="common" if i % 10 == 0 else "", language="de" if i % 4 else "en")
         for i, (name, vectors) in enumerate(rows.items())]
    )  # fmt: skip
    near, whole = Searcher(table, kept_rows=10_000), Searcher(table)
    shares = []
    for _ in range(20):
        query = drawn()
        for asked in (
            Query(vectors={"vision": query["vision"]}),
            Query(vectors={"text": query["text"], "sound": query["sound"]}),
            Query(vectors=query, weights={"vision": 1.0, "text": 3.0}),
            Query(vectors=query, words="common"),
            Query(vectors=query, where=parse("language = 'en'")),
        ):
            assert near.search(asked) == whole.search(asked)
        plain = Query(vectors=query)
        shares.append(len({*ids(near.search(plain))} & {*ids(whole.search(plain))}) / 10)
    assert near._near is not None
    assert np.mean(shares) > 0.9


@pytest.mark.usefixtures("few_are_many")
def test_a_commit_while_a_search_is_under_way_spoils_it_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(25)
    rows = {f"v{i:04}": random_vectors(rng) for i in range(800)}
    table = VideoTable.open(tmp_path, WIDE)
    table.upsert([video(name, vectors, space=WIDE) for name, vectors in rows.items()])
    near = Searcher(table, kept_rows=10_000)
    query = Query(vectors={n: unit(*rng.standard_normal(d)) for n, d in WIDE.dims.items()})
    before = near.search(query)
    old, there = near._rows, near._near
    assert old is not None
    assert there is not None
    there.keep({})  # somebody else's commit has changed every file of rows since
    assert near.search(query) == before


def test_looking_through_an_eighth_of_the_lists_misses_next_to_nothing_where_there_are_clusters() -> None:
    rng = np.random.default_rng(23)
    centres = rng.standard_normal((200, 64))
    rows = (centres[rng.integers(0, 200, 30_000)] + rng.standard_normal((30_000, 64))).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    near = Near({"a": rows[:20_000], "b": rows[20_000:]}, np.ones(64, np.float32))
    shares = []
    for row in rows[::500]:
        best = set(np.argsort(-(rows @ row))[:10].tolist())
        shares.append(len(best & set(near.nearest(row, 60, near.generation).tolist())) / 10)
    assert np.mean(shares) > 0.95
