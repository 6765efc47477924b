import numpy as np

from tasks.scores import ClassScore, class_scores, named_scores


def test_each_class_has_its_own_share_of_right_answers() -> None:
    assert class_scores(np.array([[8, 2], [0, 5]]), ("cat", "dog")) == (
        ClassScore("cat", examples=10, recognised=8, recall=0.8, precision=1.0),
        ClassScore("dog", examples=5, recognised=5, recall=1.0, precision=5 / 7),
    )


def test_a_class_without_examples_has_no_recall_and_one_never_predicted_no_precision() -> None:
    absent, unseen = class_scores(np.array([[0, 0], [3, 0]]))
    assert (absent.name, absent.recall, absent.precision) == ("0", None, 0.0)
    assert (unseen.name, unseen.recall, unseen.precision) == ("1", 0.0, None)


def test_scores_have_names_and_those_that_divide_by_nothing_are_left_out() -> None:
    assert named_scores(np.array([[0, 0], [3, 0]])) == {"precision/0": 0.0, "recall/1": 0.0}
