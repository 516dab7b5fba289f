from shield.messages import ResponseHead
from shield.rules.interim import MAX_BYTES, MAX_RESPONSES, Interims


def test_hints_go_on_without_what_is_for_one_hop_or_one_client() -> None:
    head = ResponseHead(
        103,
        (
            (b"link", b"</a.css>; rel=preload"),
            (b"link", b"</b.js>; rel=preload"),
            (b"set-cookie", b"a=b"),
            (b"connection", b"x-hop"),
            (b"x-hop", b"1"),
            (b"server", b"origin"),
            (b"via", b"1.1 other"),
        ),
        0,
    )

    assert Interims().taken(head) == (
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nlink: </b.js>; rel=preload\r\n\r\n"
    )
    assert Interims().taken(ResponseHead(102, (), 0)) == b"HTTP/1.1 102 Processing\r\n\r\n"


def test_no_other_interim_response_goes_on() -> None:
    for status in (100, 101, 104, 199):
        assert Interims().taken(ResponseHead(status, (), 0)) is None


def test_they_are_bounded_in_number_and_bytes() -> None:
    many = Interims()
    assert [many.taken(ResponseHead(102, (), 0)) is not None for _ in range(MAX_RESPONSES + 2)] == (
        [True] * MAX_RESPONSES + [False] * 2
    )

    long = Interims()
    hint = ResponseHead(103, ((b"link", b"x" * (MAX_BYTES // 2)),), 0)
    small = ResponseHead(103, ((b"link", b"y"),), 0)
    assert [long.taken(head) is not None for head in (hint, hint, small)] == [True, False, True]
