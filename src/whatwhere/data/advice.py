"""What to do about each kind of finding: one sentence for people, the same in every format."""

from __future__ import annotations

ADVICE: dict[str, str] = {
    # Boxes.
    "bad-box": "write four finite numbers for the box, or remove the label",
    "inverted-box": "exchange the two corners, or check whether width and height were meant",
    "zero-score": "set the score to null, or leave such labels out beforehand",
    "zero-size-box": "draw the box anew, or remove the label",
    "outside-box": "check which picture the box belongs to, and in which units it is written",
    "clipped-box": "nothing if the overhang is small; else check the recorded size and the units",
    "whole-picture-box": "check that the object fills the picture; else draw the box anew",
    "no-box": "draw a box, or read the data as a multi-label set",
    "filled-hole": "nothing if only the box counts; else store the object as a mask",
    "fractional-boxes": "nothing if the boxes lie where they should (see 'data view')",
    "no-crop": "nothing: what is to be ignored is no example of its class",
    "duplicate-label": "remove one of the two (--fix does)",
    "near-identical-box": "remove one of the two boxes (--fix does)",
    "contradicting-labels": "decide which class is right and remove the other label",
    "bad-name": "rename the file with a name that is UTF-8 text",
    # Classes.
    "no-class": "give the label a class name, or remove it",
    "unknown-class": "add the class to the list of names, or correct the label",
    "duplicate-class": "give each class one entry",
    "similar-class": "if they mean one class, rename one of them (--fix --merge-names does where"
    " only case, spaces or marks differ)",
    "unused-class": "nothing, or remove the class from the list of names",
    "empty-class": "put pictures into the folder, or remove it",
    "untrained-class": "divide the data anew with 'data split', or add training pictures",
    "unmeasured-class": "divide the data anew with 'data split', or add pictures to val and test",
    "class-imbalance": "collect more of the rare classes, and look at scores class by class",
    "shared-group": "if they are different things, give each data set a --prefix",
    "differing-info": "nothing, or correct what is said of the whole in one of the data sets",
    "contradicting-ids": "give each class one number in all files",
    "contradicting-class": "describe the class in one way in all files",
    "unnamed-class": "read the file with the names beside it: the class has only a number",
    "missing-names": "bring the file of class names back; until then classes have numbers",
    "class-order": "check that the class names are in the order that the labels were made with",
    "open-class": "nothing: that these pictures have no label of a class does not mean none of it",
    "unmatched-keypoints": "give the key points the id of a box, or remove them",
    "image-label": "nothing: a label of the whole picture cannot be a box",
    # Pictures.
    "missing-image": "bring the picture back, name its folder with --images, or remove its labels",
    "unreadable-image": "get the picture again from its source, or remove it (--fix does)",
    "damaged-image": "look at the picture, and get it again from its source if a part is lost",
    "oversized-image": "shrink the picture, and its boxes with it, or cut it into tiles",
    "wrong-size": "correct the recorded size, or label the picture that is on disk",
    "blank-image": "remove the picture unless it is meant to show nothing",
    "grey-image": "nothing: they are read as RGB; know that the model sees both kinds",
    "many-labels": "look whether labels of other pictures got here; a crowd is fine",
    "no-labels": "nothing if these pictures show none of the classes; else label or remove them",
    "unlisted-image": "add the pictures to the annotation file, or move them away",
    "unknown-image": "add the picture to the list, or remove its labels",
    "not-an-image": "remove the file, or convert it to JPEG or PNG",
    "copied-image": "nothing: the files take space twice",
    # The same twice.
    "duplicate-image": "remove one of the two (--fix does, and joins their labels)",
    "leaked-image": "remove it from the training pictures (--fix does)",
    "near-duplicate": "nothing in one split, but keep them together: 'data split' does",
    "leaked-near-duplicate": "divide the data anew with 'data split', which keeps them together",
    "duplicate-id": "give each record an id of its own",
    "duplicate-entry": "list the picture once",
    "duplicate-name": "rename one of the two files",
    # Splits and groups.
    "leaked-group": "divide the data anew with 'data split --group group'",
    "two-splits": "list the picture in one split only",
    "contradicting-splits": "list the picture in one split only",
    "missing-split": "bring the listed file or folder back, or take it off the list",
    "lost-split": "nothing, or choose a format that can hold the split",
    # Files and records.
    "bad-record": "correct the record as the message says",
    "wrong-count": "check that the labels belong to these pictures; one too few shifts all",
    "duplicate-key": "remove one of the two entries; the last one was read",
    "decimal-comma": "nothing, or write the numbers with a point",
    "several-annotations": "decide which annotation holds, and remove the others",
    "bad-value": "correct the value as the message says",
    "damaged-annotation": "correct the file, or write it anew with the tool that made it",
    "missing-annotation": "bring the annotation file back, or take the picture off the list",
    "missing-labels": "write an empty label file if the picture shows none of the classes;"
    " else label it",
    "stray-file": "move the file away, or to where the format wants it",
    "left-out-folder": "name the folder that is meant as the data set",
    "left-out-file": "nothing, or name the file itself to read it",
    "left-out-class": "nothing, or read the class as the message says",
    "not-georeferenced": "nothing, or give the picture a geographical reference",
    "not-read": "nothing, or name the file itself to read it",
    "left-out-field": "nothing unless the field is needed",
    "path-outside": "move the file into the data set's folder and correct the path",
    "lost-column": "nothing, or choose a format that can hold it",
    "lost-mask": "nothing, or choose a format that can hold masks",
    "other-split": "nothing: the split is in the file under this name",
    "renamed-image": "nothing: the format demands such names",
    "renamed-track": "nothing: the format demands such numbers",
}
"""Advice by kind; `tests/data/test_findings.py` demands one for each kind in the source."""

GENERAL = "look at the record that is named, and correct it"


def advice(kind: str) -> str:
    """What to do about a finding of this kind."""
    return ADVICE.get(kind, GENERAL)
