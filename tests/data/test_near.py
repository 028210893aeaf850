"""Near duplicates: fingerprints, the index, groups; on generated pictures and real ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from whatwhere.data import near
from whatwhere.data.near import fingerprints, groups_of, near_pairs, popcount, similar_hashes
from whatwhere.images import write_image


def scene(seed: int) -> np.ndarray:
    """Soft colours, round shapes and some texture: uint8 (240, 320, 3)."""
    rng = np.random.default_rng(seed)
    soft = rng.uniform(0, 255, (5, 6, 3)).astype(np.float32)
    image = cv2.resize(soft, (320, 240), interpolation=cv2.INTER_CUBIC)
    for _ in range(15):
        place = (int(rng.integers(320)), int(rng.integers(240)))
        cv2.circle(image, place, int(rng.integers(5, 40)), rng.uniform(0, 255, 3).tolist(), -1)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def changed(image: np.ndarray, how: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if how == "half":
        return cv2.resize(image, (160, 120), interpolation=cv2.INTER_AREA)
    if how == "third":
        return cv2.resize(image, (107, 80), interpolation=cv2.INTER_CUBIC)
    if how == "crop":
        return image[3:-2, 2:-4]
    if how == "brighter":
        return np.clip(image * 1.2 + 15, 0, 255).astype(np.uint8)
    if how == "darker":
        return (image * 0.6).astype(np.uint8)
    if how == "noise":
        return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    return image


HOW = ["half", "third", "crop", "brighter", "darker", "noise", "jpeg"]


def test_changed_pictures_are_found_and_others_are_not(tmp_path: Path) -> None:
    paths, origin = [], []
    for seed in range(20):
        for how in ["", *HOW]:
            path = tmp_path / f"{seed} {how}.jpg"
            write_image(path, changed(scene(seed), how), 30 if how == "jpeg" else 95)
            paths.append(str(path))
            origin.append(seed)
    seen = near.see(paths)
    assert seen.readable.all()
    assert not seen.flat.any()
    pairs = seen.pairs()
    number = np.array(origin)
    assert (number[pairs[:, 0]] == number[pairs[:, 1]]).all()
    groups = groups_of(len(paths), pairs)
    together = groups == np.repeat(groups[::8], 8)
    assert together.mean() > 0.97


def planted(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random hashes of which some pairs differ in a known number of bits."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 1 << 63, count, dtype=np.uint64)
    pairs = np.sort(rng.permutation(count)[: count // 10 * 2].reshape(-1, 2), axis=1)
    distance = np.arange(len(pairs)) % 15
    for (first, second), bits in zip(pairs, distance, strict=True):
        hashes[second] = hashes[first]
        for bit in rng.permutation(63)[:bits].tolist():
            hashes[second] ^= np.uint64(1 << bit)
    return hashes, pairs, distance


def test_the_index_finds_all_that_are_near_and_most_that_are_not_far() -> None:
    hashes, pairs, distance = planted(6000, 1)
    found = np.unique(np.concatenate(list(similar_hashes(hashes, 14))), axis=0)
    assert (popcount(hashes[found[:, 0]] ^ hashes[found[:, 1]]) <= 14).all()
    assert (found[:, 0] < found[:, 1]).all()
    known = set(map(tuple, found.tolist()))
    hit = np.array([tuple(pair) in known for pair in pairs.tolist()])
    assert hit[distance <= 9].all()
    assert hit[distance > 9].mean() > 0.7


def test_the_index_gives_the_same_as_comparing_all_pairs() -> None:
    # Few different bits, so that many hashes are near and rows of the tables are long.
    rng = np.random.default_rng(2)
    hashes = rng.integers(0, 1 << 12, 500, dtype=np.uint64) << np.uint64(20)
    _, first = np.unique(hashes, return_index=True)
    single = hashes[np.sort(first)]
    a, b = np.triu_indices(len(single), 1)
    close = popcount(single[a] ^ single[b]) <= 5
    wanted = set(zip(a[close].tolist(), b[close].tolist(), strict=True))
    found = set(map(tuple, np.concatenate(list(similar_hashes(single, 5))).tolist()))
    assert found == wanted
    again = np.concatenate(list(similar_hashes(hashes, 5)))
    groups, few = groups_of(500, again), groups_of(len(single), np.array(sorted(wanted)))
    assert len(np.unique(groups)) == len(np.unique(few))


def test_memory_is_bounded_where_everything_is_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "CANDIDATES", 1000)
    hashes = np.arange(600, dtype=np.uint64) % 300
    pieces = list(similar_hashes(hashes, 3))
    assert max(map(len, pieces)) <= 1000
    same = np.concatenate(pieces)
    assert {(i, i + 300) for i in range(300)} <= set(map(tuple, same.tolist()))


def test_popcount_with_and_without_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.array([0, 1, 255, (1 << 63) - 1, 1 << 62], np.uint64)
    assert popcount(values).tolist() == [0, 1, 8, 63, 1]
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert popcount(values).tolist() == [0, 1, 8, 63, 1]


def test_groups_are_connected_parts() -> None:
    rng = np.random.default_rng(4)
    pairs = rng.integers(0, 400, (250, 2))
    parent = list(range(400))

    def root(one: int) -> int:
        while parent[one] != one:
            one = parent[one]
        return one

    for first, second in pairs.tolist():
        a, b = sorted((root(first), root(second)))
        parent[b] = a
    assert groups_of(400, pairs).tolist() == [root(one) for one in range(400)]
    chain = np.stack([np.arange(999), np.arange(1, 1000)], axis=1)[::-1]
    assert (groups_of(1000, chain) == 0).all()
    assert groups_of(3, np.empty((0, 2), np.int64)).tolist() == [0, 1, 2]


def test_brightness_changes_nothing_and_flat_pictures_are_marked() -> None:
    rng = np.random.default_rng(5)
    small = cv2.resize(rng.uniform(20, 100, (8, 8)).astype(np.float32), (32, 32))
    pixels = np.stack([small, small * 2, small + 90, np.full((32, 32), 77)]).astype(np.uint8)
    hashes, signatures, flat = fingerprints(pixels)
    assert popcount(hashes[:1] ^ hashes[1:3]).max() <= 4
    assert flat.tolist() == [False, False, False, True]
    assert signatures.dtype == np.int8
    assert near_pairs(hashes[:3], signatures[:3]).tolist() != []


def test_no_picture_or_one() -> None:
    assert near.see([]).pairs().shape == (0, 2)
    assert near.see(["absent.jpg"]).pairs().shape == (0, 2)


def test_few_false_pairs_in_genuine_pictures(shared: Path) -> None:
    """Blood smears and photographs: one pair of bccd shows the same cells, moved a little."""
    paths = sorted(str(path) for path in (shared / "bccd").rglob("*.jpg"))
    paths += sorted(str(path) for path in (shared / "voc2012_mini").rglob("*.jpg"))
    assert len(paths) > 400
    pairs = near.see(paths).pairs()
    names = {tuple(Path(paths[row]).stem for row in pair) for pair in pairs}
    assert names == {("BloodImage_00037", "BloodImage_00038")}


def test_frames_of_a_panning_camera_are_one_group() -> None:
    wide = cv2.resize(scene(1), (960, 720), interpolation=cv2.INTER_CUBIC)
    wide = cv2.cvtColor(wide, cv2.COLOR_RGB2GRAY)
    frames = [wide[100:500, place : place + 480] for place in range(0, 480, 4)]
    small = [cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in frames]
    hashes, signatures, _ = fingerprints(np.stack(small))
    groups = groups_of(len(small), near_pairs(hashes, signatures))
    assert np.bincount(groups).max() > 100


def test_things_of_a_kind_are_no_copies(shared: Path) -> None:
    """Digits: by their hashes alone four fifths of them would be one group."""
    file = shared / "mnist" / "t10k-images-idx3-ubyte.gz"
    paths = [f"{file}!/{16 + 784 * number}+28x28/{number}.png" for number in range(3000)]
    pairs = near.see(paths).pairs()
    assert np.bincount(groups_of(3000, pairs)).max() < 60
    assert len(np.unique(pairs)) < 150
