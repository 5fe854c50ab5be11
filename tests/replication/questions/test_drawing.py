from overopt.replication.questions.drawing import dots


def test_dots_in_the_order_of_the_rows_and_rules_only_where_there_is_an_interval() -> None:
    rows = [
        {"category": "b", "entry": "x", "mean": 1.0, "low": 0.5, "high": 1.5},
        {"category": "a", "entry": "y", "mean": 2.0},
    ]
    spec = dots(rows, x="change").to_dict()
    zero, rules, points = spec["layer"]
    assert [spec["datasets"][layer["data"]["name"]] for layer in spec["layer"]] == [[{"zero": 0.0}], rows[:1], rows]
    assert zero["encoding"]["x"]["field"] == "zero" and rules["encoding"]["x2"]["field"] == "high"
    assert points["encoding"]["y"]["sort"] == ["b", "a"]
    assert points["encoding"]["x"]["title"] == "change"
    assert len(dots(rows[1:], x="change", zero=None).to_dict()["layer"]) == 1
