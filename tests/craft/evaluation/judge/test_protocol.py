import json

import pytest

from craft.evaluation.judge import protocol
from craft.evaluation.judge.protocol import UnreadableVerdict, Verdict, parse, summarize

GOOD = {
    "correct": True,
    "explanation_present": True,
    "faithfulness": 8,
    "relevance": 6.5,
    "verbosity": 2,
}


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps(GOOD),
        f"```json\n{json.dumps(GOOD, indent=1)}\n```",
        f"Here is {{my}} verdict: {json.dumps(GOOD)} Regards",
        json.dumps({**GOOD, "comment": "extra fields are ignored"}),
    ],
)
def test_parses_typical_replies(reply):
    assert parse(reply) == Verdict.model_validate(GOOD)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "no JSON object"),
        ("The answer is good: 8/10", "no JSON object"),
        (json.dumps(GOOD)[:-1], "no JSON object"),
        (json.dumps({**GOOD, "faithfulness": 11}), "faithfulness"),
        (json.dumps({**GOOD, "verbosity": -1}), "verbosity"),
        (json.dumps({**GOOD, "correct": "yes"}), "correct"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "relevance"}), "relevance"),
        (json.dumps({**GOOD, "relevance": None}), "relevance"),
    ],
)
def test_no_verdict_is_invented(reply, problem):
    with pytest.raises(UnreadableVerdict, match=problem):
        parse(reply)


def test_overall_is_the_papers():
    verdicts = [
        Verdict.model_validate(GOOD),
        Verdict.model_validate({**GOOD, "explanation_present": False, "correct": False}),
    ]
    summary = summarize(verdicts)
    assert summary["faithfulness"] == 4  # an absent explanation counts 0
    assert summary["relevance"] == 3.25
    assert summary["overall"] == 4 + 3.25 - 2 / 2
    assert summary["correct"] == summary["explanation_present"] == 50
    assert summarize([])["overall"] is None


def test_messages_contain_the_case():
    system, user = protocol.messages("What is it?", "B", "")
    assert "JSON" in system["content"]
    assert "What is it?" in user["content"]
    assert "(empty)" in user["content"]


def test_schema_names_every_field():
    assert set(protocol.schema()["required"]) == set(GOOD)
