"""The class names of COCO's 80 kinds of objects, in the order of its ids.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014. Detectors that were trained
on it and carry no class names answer in this order.
"""

from __future__ import annotations

_LIST = """
person; bicycle; car; motorcycle; airplane; bus; train; truck; boat;
traffic light; fire hydrant; stop sign; parking meter; bench;
bird; cat; dog; horse; sheep; cow; elephant; bear; zebra; giraffe;
backpack; umbrella; handbag; tie; suitcase;
frisbee; skis; snowboard; sports ball; kite; baseball bat; baseball glove; skateboard;
surfboard; tennis racket;
bottle; wine glass; cup; fork; knife; spoon; bowl;
banana; apple; sandwich; orange; broccoli; carrot; hot dog; pizza; donut; cake;
chair; couch; potted plant; bed; dining table; toilet;
tv; laptop; mouse; remote; keyboard; cell phone;
microwave; oven; toaster; sink; refrigerator;
book; clock; vase; scissors; teddy bear; hair drier; toothbrush
"""
COCO_NAMES = tuple(" ".join(name.split()) for name in _LIST.split(";"))
COCO_IDS = tuple(i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
"""The category ids of these classes in COCO's own files, which some detectors answer."""
