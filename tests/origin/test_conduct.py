from shield.origin.conduct import MEMORY_SECONDS, Conduct, Keep


def test_an_answer_that_states_a_body_it_lacks_is_held_against_the_origin_until_one_stayed_silent() -> None:
    conduct = Conduct()

    assert conduct.judge(stated=False, now=0) is Keep.YES
    assert conduct.judge(stated=True, now=0) is Keep.WATCH
    conduct.saw_silence()
    assert conduct.judge(stated=True, now=0) is Keep.YES


def test_one_body_where_none_belongs_is_remembered_for_a_while_and_proves_anew_after_it() -> None:
    conduct = Conduct()
    conduct.saw_silence()

    conduct.saw_body(100.0)

    for stated in (False, True):
        assert conduct.judge(stated=stated, now=99.0 + MEMORY_SECONDS) is Keep.NO
    assert conduct.judge(stated=True, now=100.0 + MEMORY_SECONDS) is Keep.WATCH
    assert conduct.judge(stated=False, now=100.0 + MEMORY_SECONDS) is Keep.YES
