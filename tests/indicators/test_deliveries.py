"""Facts of one submission that were said at the same instant: which comes first does not matter."""

from __future__ import annotations

import itertools
import json

from indicators import facts
from indicators import told as told_words
from indicators.deliveries import DeliveryFold
from tests.indicators.test_facts import DELIVERY


def test_words_of_the_same_instant_describe_the_same_whatever_their_order() -> None:
    bare = {key: DELIVERY[key] for key in DELIVERY if key not in ("stay", "patient", "ins_qualified")}
    told = [
        {**bare, "destination": "mss", "recipient": "a@x.mssante.fr"},
        {**DELIVERY, "stay": {"value": "S2"}},
        {**DELIVERY, "stay": {"value": "S1"}},
        {**bare, "destination": "mss", "recipient": "b@x.mssante.fr", "outcome": "failure"},
    ]
    found = set()
    for order in itertools.permutations(told):
        fold = DeliveryFold()
        for n, fact in enumerate(order):
            read = facts.read(json.dumps({**fact, "fact_id": str(n)}))
            word = told_words.of(read)
            assert isinstance(word, told_words.Delivery)
            fold.add(word, read["at"].timestamp())
        (document,) = fold
        (submission,) = document.submissions
        found.add((submission.ref, submission.patient, submission.qualified, len(submission.attempts)))
    assert found == {(("750000001", "S1"), "p", True, 3)}
