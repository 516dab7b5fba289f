"""Requests that could be read in two ways, and their plain neighbours: what is answered, and what the origin sees.

A refused one gets its answers and an end; nothing of it, and nothing after it, reaches the origin. A served one
reaches the origin as one request that is wholly ours, for the one path it names.
"""

from __future__ import annotations

from dataclasses import dataclass

HOST = b"Host: cdn.example\r\n"


@dataclass(frozen=True)
class Case:
    """What a client sends, the statuses of the answers, whether that is the end, and what the origin is asked."""

    name: str
    raw: bytes
    answers: tuple[int, ...]
    closes: bool
    asked: tuple[str, ...] = ()


def head(*lines: bytes, line: bytes = b"GET /a HTTP/1.1", host: bytes = HOST) -> bytes:
    return line + b"\r\n" + host + b"".join(each + b"\r\n" for each in lines) + b"\r\n"


def target(target: bytes, *, host: bytes = HOST) -> bytes:
    return head(line=b"GET " + target + b" HTTP/1.1", host=host)


def refused(name: str, raw: bytes, status: int = 400) -> Case:
    return Case(name, raw, (status,), True)


def open_after(name: str, raw: bytes, status: int) -> Case:
    """Refused, but so well understood that the connection goes on."""
    return Case(name, raw, (status,), False)


def served(name: str, raw: bytes, asked: str = "/a", *, closes: bool = False) -> Case:
    return Case(name, raw, (200,), closes, (asked,))


def field(name: str, line: bytes, status: int = 400) -> Case:
    """Refused for one field line."""
    return refused(name, head(line), status)


def harmless(name: str, line: bytes, *, closes: bool = False) -> Case:
    """Served in spite of one field line, of which the origin sees nothing."""
    return served(name, head(line), closes=closes)


CHUNKS = b"0\r\n\r\n"
SMALL = b"GET /b HTTP/1.1\r\n" + HOST + b"\r\n"

FRAMING = [
    refused("length and chunked", head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + CHUNKS),
    refused("chunked and length", head(b"Transfer-Encoding: chunked", b"Content-Length: 5") + CHUNKS),
    refused("length zero and chunked", head(b"Content-Length: 0", b"Transfer-Encoding: chunked") + CHUNKS),
    refused("length twice, the same", head(b"Content-Length: 3", b"Content-Length: 3") + b"abc"),
    refused("length twice, different", head(b"Content-Length: 0", b"Content-Length: 3") + b"abc"),
    refused("length zero twice", head(b"Content-Length: 0", b"Content-Length: 0")),
    field("length empty", b"Content-Length: "),
    field("length without anything", b"Content-Length:"),
    field("length with plus", b"Content-Length: +0"),
    field("length negative", b"Content-Length: -1"),
    field("length hexadecimal", b"Content-Length: 0x0"),
    field("length as list", b"Content-Length: 0, 0"),
    field("length as list without blank", b"Content-Length: 0,0"),
    field("length with blank inside", b"Content-Length: 0 0"),
    field("length in words", b"Content-Length: zero"),
    field("length with fraction", b"Content-Length: 0.0"),
    field("length with exponent", b"Content-Length: 0e0"),
    field("length with underscore", b"Content-Length: 1_0"),
    field("length with semicolon", b"Content-Length: 0;"),
    field("length quoted", b'Content-Length: "0"'),
    field("length with two zeros", b"Content-Length: 00"),
    field("length beyond 64 bits", b"Content-Length: 18446744073709551616"),
    field("length of 64 bits", b"Content-Length: 18446744073709551615"),
    field("length of many digits", b"Content-Length: " + b"9" * 300),
    field("length in other digits", b"Content-Length: \xd9\xa0"),
    refused("length with white space before colon", head(b"Content-Length : 0")),
    refused("length with tab before colon", head(b"Content-Length\t: 0")),
    refused("GET with body", head(b"Content-Length: 5") + b"hello"),
    refused("HEAD with body", head(b"Content-Length: 5", line=b"HEAD /a HTTP/1.1") + b"hello"),
    refused("GET with a request as body", head(b"Content-Length: %d" % len(SMALL)) + SMALL),
    refused("GET in chunks", head(b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n" + CHUNKS),
    served("GET in no chunks", head(b"Transfer-Encoding: chunked") + CHUNKS),
    served("HEAD in no chunks", head(b"Transfer-Encoding: chunked", line=b"HEAD /a HTTP/1.1") + CHUNKS),
    served("GET in no chunks, name in small letters", head(b"transfer-encoding:chunked") + CHUNKS),
    served(
        "GET in no chunks, the last", head(b"Transfer-Encoding: chunked", b"Connection: close") + CHUNKS, closes=True
    ),
    refused("no chunks, with more zeros", head(b"Transfer-Encoding: chunked") + b"00\r\n\r\n"),
    refused("no chunks, with a blank", head(b"Transfer-Encoding: chunked") + b"0 \r\n\r\n"),
    refused("no chunks, with an empty line before", head(b"Transfer-Encoding: chunked") + b"\r\n" + CHUNKS),
    refused("no chunks and a trailer", head(b"Transfer-Encoding: chunked") + b"0\r\nX: y\r\n\r\n"),
    refused(
        "no chunks, a trailer, and an upgrade behind them",
        head(b"Transfer-Encoding: chunked") + b"0\r\nX: y\r\n\r\n" + head(b"Connection: upgrade", b"Upgrade: x"),
    ),
    refused("no chunks but a request", head(b"Transfer-Encoding: chunked") + b"GET /b HTTP/1.1\r\n" + HOST + b"\r\n"),
    refused("a chunk of one byte", head(b"Transfer-Encoding: chunked") + b"1\r\n0\r\n" + CHUNKS),
    refused(
        "no chunks, for a protocol",
        head(b"Transfer-Encoding: chunked", b"Connection: upgrade", b"Upgrade: x") + CHUNKS,
    ),
    refused("no chunks, expected", head(b"Transfer-Encoding: chunked", b"Expect: 100-continue") + CHUNKS),
    refused("no chunks, wrong path", head(b"Transfer-Encoding: chunked", line=b"GET /p/a%00 HTTP/1.1") + CHUNKS),
    refused("no chunks on HTTP/1.0", head(b"Transfer-Encoding: chunked", line=b"GET /a HTTP/1.0") + CHUNKS),
    refused("chunk size not hexadecimal", head(b"Transfer-Encoding: chunked") + b"zz\r\n"),
    refused("chunk size negative", head(b"Transfer-Encoding: chunked") + b"-1\r\n"),
    refused("chunk size huge", head(b"Transfer-Encoding: chunked") + b"f" * 40 + b"\r\n"),
    refused("chunk size prefixed", head(b"Transfer-Encoding: chunked") + b"0x0\r\n\r\n"),
    refused("chunk extension", head(b"Transfer-Encoding: chunked") + b"0;a=b\r\n\r\n"),
    refused("chunk extension with bare LF", head(b"Transfer-Encoding: chunked") + b"0;\n\r\n" + SMALL),
    refused("chunk ended by bare LF", head(b"Transfer-Encoding: chunked") + b"0\n\n" + SMALL),
    refused("trailer", head(b"Transfer-Encoding: chunked") + b"0\r\nHost: other.example\r\n\r\n"),
    field("coding unknown", b"Transfer-Encoding: xchunked"),
    field("coding with parameter", b"Transfer-Encoding: chunked;q=1"),
    field("coding with trailing comma", b"Transfer-Encoding: chunked,"),
    field("coding with leading comma", b"Transfer-Encoding: ,chunked"),
    field("coding twice in a line", b"Transfer-Encoding: chunked, chunked"),
    refused("coding in two lines", head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    refused("coding in two lines, one odd", head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x")),
    field("coding identity", b"Transfer-Encoding: identity"),
    field("coding chunked, identity", b"Transfer-Encoding: chunked, identity"),
    field("coding identity, chunked", b"Transfer-Encoding: identity, chunked"),
    field("coding gzip", b"Transfer-Encoding: gzip"),
    field("coding gzip, chunked", b"Transfer-Encoding: gzip, chunked"),
    field("coding in capitals", b"Transfer-Encoding: CHUNKED"),
    field("coding after tab", b"Transfer-Encoding:\tchunked"),
    field("coding before tab", b"Transfer-Encoding: chunked\t"),
    field("coding after vertical tab", b"Transfer-Encoding:\x0bchunked"),
    field("coding quoted", b'Transfer-Encoding: "chunked"'),
    field("coding empty", b"Transfer-Encoding:"),
    field("coding with white space before colon", b"Transfer-Encoding : chunked"),
    field("coding folded", b"Transfer-Encoding:\r\n chunked"),
    field("coding behind a bare LF", b"X: y\nTransfer-Encoding: chunked"),
    field("coding behind a bare CR", b"X: y\rTransfer-Encoding: chunked"),
    field("coding with NUL", b"Transfer-Encoding: chunked\0"),
    refused(
        "coding on HTTP/1.0",
        head(b"Transfer-Encoding: chunked", line=b"GET /a HTTP/1.0") + b"5\r\nhello\r\n" + CHUNKS,
    ),
    harmless("length zero", b"Content-Length: 0"),
    harmless("length zero and blanks", b"Content-Length:  0 \t"),
    harmless("underscore instead of hyphen in length", b"Content_Length: 5"),
    harmless("underscore instead of hyphen in coding", b"Transfer_Encoding: chunked"),
    harmless("TE", b"TE: trailers, chunked"),
    harmless("Trailer", b"Trailer: Host"),
]

LINES = [
    field("folded line", b"X: y\r\n z"),
    field("line folded with tab", b"X: y\r\n\tz"),
    field("empty line folded", b"X:\r\n y"),
    refused("first line folded", b"GET /a HTTP/1.1\r\n " + HOST + b"\r\n"),
    refused("blank line before the fields", b"GET /a HTTP/1.1\r\n \r\n" + HOST + b"\r\n"),
    refused("bare LF after the request line", b"GET /a HTTP/1.1\n" + HOST + b"\r\n"),
    refused("bare LF after a field", b"GET /a HTTP/1.1\r\nHost: cdn.example\n\r\n"),
    refused("bare LF at the end of the head", b"GET /a HTTP/1.1\r\n" + HOST + b"\n"),
    refused("bare LFs everywhere", b"GET /a HTTP/1.1\nHost: cdn.example\n\n"),
    refused("bare CR after the request line", b"GET /a HTTP/1.1\r" + HOST + b"\r\n"),
    field("bare CR in a value", b"X: y\rz"),
    field("bare CR at the end of a value", b"X: y\r"),
    field("bare LF in a value", b"X: y\nz"),
    field("bare LF before a value", b"X:\ny"),
    field("NUL in a value", b"X: y\0z"),
    field("NUL in a name", b"X\0: y"),
    field("NUL before a name", b"\0X: y"),
    field("control byte in a value", b"X: \x01"),
    field("escape byte in a value", b"X: \x1b[2J"),
    field("delete in a value", b"X: \x7f"),
    field("vertical tab in a value", b"X: \x0b"),
    field("form feed in a value", b"X:\x0cy"),
    field("blank before colon", b"X : y"),
    field("tab before colon", b"X\t: y"),
    field("blank before name", b" X: y"),
    field("blank in a name", b"X Y: z"),
    field("name empty", b": y"),
    field("colon alone", b":"),
    field("no colon", b"X"),
    field("no colon and blank", b"X "),
    field("name not ASCII", b"X\xfc: y"),
    field("name with control byte", b"X\x01: y"),
    field("name with delete", b"X\x7f: y"),
    *[field(f"name with {chr(c)}", b"X%c: y" % c) for c in b'"(),/;<=>?@[\\]{}'],
    harmless("name of odd characters", b"!#$%&'*+-.^_`|~: y"),
    harmless("value empty", b"X:"),
    harmless("value of blanks", b"X: \t "),
    harmless("value not ASCII", b"X: \xc3\xbc \xff"),
    harmless("value with colons", b"X::: y"),
    harmless("value that looks like a request", b"X: GET /b HTTP/1.1"),
]

REQUEST_LINES = [
    refused("two blanks after the method", head(line=b"GET  /a HTTP/1.1")),
    refused("two blanks before the version", head(line=b"GET /a  HTTP/1.1")),
    refused("many blanks", head(line=b"GET    /a    HTTP/1.1")),
    refused("tab after the method", head(line=b"GET\t/a HTTP/1.1")),
    refused("tab before the version", head(line=b"GET /a\tHTTP/1.1")),
    refused("blank after the version", head(line=b"GET /a HTTP/1.1 ")),
    refused("blank before the method", head(line=b" GET /a HTTP/1.1")),
    refused("no target", head(line=b"GET HTTP/1.1")),
    refused("nothing but a method", b"GET\r\n\r\n"),
    refused("nothing but a word", b"nonsense\r\n\r\n"),
    refused("two targets", head(line=b"GET /a /b HTTP/1.1")),
    refused("version in small letters", head(line=b"GET /a http/1.1")),
    refused("version without slash", head(line=b"GET /a HTTP1.1")),
    refused("version without minor", head(line=b"GET /a HTTP/1")),
    refused("version with two digits", head(line=b"GET /a HTTP/1.10")),
    refused("version with leading zero", head(line=b"GET /a HTTP/01.1")),
    refused("version with comma", head(line=b"GET /a HTTP/1,1")),
    refused("RTSP", head(line=b"GET /a RTSP/1.1")),
    refused("RTSP 1.0", head(line=b"GET /a RTSP/1.0")),
    refused("a method of RTSP", head(line=b"GET_PARAMETER /a RTSP/1.0")),
    refused("ICE", head(line=b"SOURCE /a ICE/1.0")),
    refused("two empty lines before", b"\r\n\r\n" + head()),
    refused("nothing but empty lines", b"\r\n\r\n"),
    refused("an empty line and a half, and a request's begin", b"\r\n\rG"),
    refused("bare LF before", b"\n" + head()),
    refused("bare CR before", b"\r" + head()),
    refused("bare CRs before", b"\r\r" + head()),
    refused("LF and CR before", b"\n\r" + head()),
    refused("NUL before", b"\0" + head()),
    refused("byte order mark before", b"\xef\xbb\xbf" + head()),
    refused("HTTP/0.9", b"GET /a\r\n\r\n", 505),
    refused("HTTP/0.9 with fields", b"GET /a\r\n" + HOST + b"\r\n", 505),
    refused("HTTP/0.9 by name", head(line=b"GET /a HTTP/0.9"), 505),
    refused("HTTP/1.2", head(line=b"GET /a HTTP/1.2"), 505),
    refused("HTTP/2.0", head(line=b"GET /a HTTP/2.0"), 505),
    refused("HTTP/3.0", head(line=b"GET /a HTTP/3.0"), 505),
    refused("HTTP/9.9", head(line=b"GET /a HTTP/9.9"), 505),
    refused("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 505),
    refused(
        "TLS hello",
        bytes.fromhex("160301013301 00012f0303") + bytes(range(256)),
    ),
    refused("SSL 2 hello", bytes.fromhex("802e0100020015000000100100800200800600400400800700c0")),
    refused("SOCKS", b"\5\1\0"),
    refused("a proxy's own line", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + head()),
    refused("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
    refused("SMTP", b"EHLO mail.example\r\n"),
    refused("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    served("empty line before", b"\r\n" + head()),
    served("HTTP/1.0", head(line=b"GET /a HTTP/1.0"), closes=True),
    served("HTTP/1.0 without host", head(line=b"GET /a HTTP/1.0", host=b""), closes=True),
    served("HTTP/1.0 to be kept", head(b"Connection: keep-alive", line=b"GET /a HTTP/1.0"), closes=True),
    served("HEAD", head(line=b"HEAD /a HTTP/1.1")),
]

METHODS = [
    *[
        open_after(f"{method}", head(line=b"%b /a HTTP/1.1" % method.encode()), 405)
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PURGE", "PROPFIND", "M-SEARCH", "QUERY")
    ],
    refused("get in small letters", head(line=b"get /a HTTP/1.1"), 405),
    refused("Get", head(line=b"Get /a HTTP/1.1"), 405),
    refused("GETS", head(line=b"GETS /a HTTP/1.1"), 405),
    refused("GE", head(line=b"GE /a HTTP/1.1"), 405),
    refused("unknown method", head(line=b"FROBNICATE /a HTTP/1.1"), 405),
    refused("odd method", head(line=b"X!#$%&'*+-.^_`|~9 /a HTTP/1.1"), 405),
    refused("long method", head(line=b"X" * 33 + b" /a HTTP/1.1")),
    refused("method with delimiter", head(line=b"GE(T) /a HTTP/1.1")),
    refused("method not ASCII", head(line=b"G\xcbT /a HTTP/1.1")),
    refused("method with NUL", head(line=b"GET\0 /a HTTP/1.1")),
    refused("method and version unknown", head(line=b"FROBNICATE /a HTTP/7.0"), 505),
    refused("CONNECT", head(line=b"CONNECT cdn.example:443 HTTP/1.1") + SMALL, 405),
    refused("CONNECT of a path", head(line=b"CONNECT /a HTTP/1.1") + SMALL, 405),
    open_after("OPTIONS of everything", head(line=b"OPTIONS * HTTP/1.1"), 405),
    refused("PRI", head(line=b"PRI /a HTTP/1.1")),
    refused("POST with body", head(b"Content-Length: 5", line=b"POST /a HTTP/1.1") + b"hello", 405),
    refused(
        "POST with a request as body", head(b"Content-Length: %d" % len(SMALL), line=b"POST /a HTTP/1.1") + SMALL, 405
    ),
    refused("POST with half a body", head(b"Content-Length: 500", line=b"POST /a HTTP/1.1") + SMALL, 405),
    refused("POST in chunks", head(b"Transfer-Encoding: chunked", line=b"POST /a HTTP/1.1") + CHUNKS, 405),
    refused("POST that expects", head(b"Content-Length: 5", b"Expect: 100-continue", line=b"POST /a HTTP/1.1"), 405),
    refused(
        "POST of two lengths", head(b"Content-Length: 5", b"Content-Length: 6", line=b"POST /a HTTP/1.1") + b"hello"
    ),
    refused("POST without host", head(line=b"POST /a HTTP/1.1", host=b"")),
]

HOSTS = [
    refused("host missing", head(host=b"")),
    refused("host twice", head(host=HOST + HOST)),
    refused("host twice, different", head(host=HOST + b"Host: other.example\r\n")),
    refused("host twice on HTTP/1.0", head(line=b"GET /a HTTP/1.0", host=HOST + HOST)),
    *[
        refused(f"host {what}", head(host=b"Host: " + value + b"\r\n"))
        for what, value in {
            "empty": b"",
            "of blanks": b" \t",
            "as list": b"cdn.example, other.example",
            "as list without blank": b"cdn.example,other.example",
            "with user": b"user@cdn.example",
            "with password": b"user:secret@cdn.example",
            "with path": b"cdn.example/a",
            "with query": b"cdn.example?a",
            "with fragment": b"cdn.example#a",
            "with scheme": b"http://cdn.example",
            "with blank inside": b"cdn.example other.example",
            "with word for port": b"cdn.example:http",
            "with two ports": b"cdn.example:80:80",
            "with port too large": b"cdn.example:65536",
            "with long port": b"cdn.example:0000080",
            "with negative port": b"cdn.example:-80",
            "of a port alone": b":80",
            "with escape": b"cdn%2eexample",
            "not ASCII": b"cdn.ex\xc3\xa4mple",
            "with backslash": b"cdn.example\\a",
            "quoted": b'"cdn.example"',
            "as IPv6 without brackets": b"2001:db8::1",
            "as IPv6 with half its brackets": b"[2001:db8::1",
            "as IPv6 with zone": b"[fe80::1%25eth0]",
            "with semicolon": b"cdn.example;a",
        }.items()
    ],
    *[
        served(f"host {what}", head(host=b"Host:" + value + b"\r\n"))
        for what, value in {
            "without blank": b"cdn.example",
            "with blanks": b" \t cdn.example \t ",
            "in capitals": b" CDN.Example",
            "with port": b" cdn.example:8080",
            "with empty port": b" cdn.example:",
            "with underscore": b" cdn_1.example",
            "with dot at the end": b" cdn.example.",
            "as IPv4": b" 192.0.2.1",
            "as IPv6": b" [2001:db8::1]:8080",
        }.items()
    ],
    harmless("X-Forwarded-Host", b"X-Forwarded-Host: other.example"),
    harmless("Forwarded", b"Forwarded: host=other.example;proto=https;for=192.0.2.1"),
]

FORMS = [
    served("absolute-form", target(b"http://cdn.example/a")),
    served("absolute-form in capitals", target(b"HTTP://CDN.EXAMPLE/a")),
    served("absolute-form of https", target(b"https://cdn.example/a")),
    served("absolute-form with the usual port", target(b"http://cdn.example:80/a")),
    served("absolute-form with an empty port", target(b"http://cdn.example:/a")),
    served(
        "absolute-form, the usual port in Host", target(b"http://cdn.example/a", host=b"Host: cdn.example:80\r\n")
    ),
    served("absolute-form with query", target(b"http://cdn.example/a?b")),
    served("absolute-form on HTTP/1.0", head(line=b"GET http://cdn.example/a HTTP/1.0", host=b""), closes=True),
    refused("absolute-form without Host", target(b"http://cdn.example/a", host=b"")),
    refused("absolute-form of another host", target(b"http://other.example/a")),
    refused("absolute-form of another port", target(b"http://cdn.example:8080/a")),
    refused("absolute-form with https's port", target(b"http://cdn.example:443/a")),
    refused("absolute-form of another scheme", target(b"ftp://cdn.example/a")),
    refused("absolute-form of a file", target(b"file:///a")),
    refused("absolute-form with user", target(b"http://user@cdn.example/a")),
    refused("absolute-form with host as user", target(b"http://cdn.example@other.example/a")),
    refused("absolute-form with bad port", target(b"http://cdn.example:99999/a")),
    refused("absolute-form without host", target(b"http:///a")),
    refused("absolute-form without slashes", target(b"http:/a")),
    refused("absolute-form with backslash", target(b"http://cdn.example\\@other.example/a")),
    refused("absolute-form with fragment", target(b"http://cdn.example/a#b")),
    refused("absolute-form with escaped host", target(b"http://cdn%2eexample/a")),
    open_after("absolute-form without path", target(b"http://cdn.example"), 404),
    open_after("absolute-form of a query alone", target(b"http://cdn.example?a=b"), 404),
    refused("authority-form", target(b"cdn.example:80")),
    refused("a host alone", target(b"cdn.example")),
    refused("asterisk-form", target(b"*")),
    refused("asterisk and more", target(b"*/a")),
    refused("relative", target(b"a")),
    refused("relative with dot", target(b"./a")),
    refused("a query alone", target(b"?a")),
    refused("a fragment alone", target(b"#a")),
]

PATHS = [
    *[
        served(f"path {raw.decode()}", target(raw), asked)
        for raw, asked in {
            b"/p/a/b": "/p/a/b",
            b"/p/a%2Fb": "/p/a%2Fb",
            b"/p/a%2fb": "/p/a%2Fb",
            b"/p//a///b": "/p//a///b",
            b"//p/a": "/p/a",
            b"/p/./a": "/p/a",
            b"/p/x/../a": "/p/a",
            b"/p/%2e%2e/p/a": "/p/a",
            b"/p/x/.%2e/a": "/p/a",
            b"/../../p/a": "/p/a",
            b"/p/x//../a": "/p/x/a",
            b"/p/x/..": "/p/",
            b"/p/a/.": "/p/a/",
            b"/p/%252e%252e/a": "/p/%252e%252e/a",
            b"/p/a%252Fb": "/p/a%252Fb",
            b"/p/..a/b..": "/p/..a/b..",
            b"/p/.../a.": "/p/.../a.",
            b"/p/a%5Cb": "/p/a%5Cb",
            b"/p/a\\b": "/p/a%5Cb",
            b"/p/a;v=1/b": "/p/a;v=1/b",
            b"/p/a%3b": "/p/a%3B",
            b"/p/%61%7e": "/p/a~",
            b"/p/%c3%bc": "/p/%C3%BC",
            b"/p/%C3%BC": "/p/%C3%BC",
            b"/p/a+b": "/p/a+b",
            b"/p/a%20b": "/p/a%20b",
            b"/p/a%3Fb": "/p/a%3Fb",
            b"/p/a%23b": "/p/a%23b",
            b"/p/a%25": "/p/a%25",
            b"/p/a?b": "/p/a",
            b"/p/a?": "/p/a",
            b"/p/a??b=/../c": "/p/a",
            b"/p/a?acl": "/p/a",
            b"/p/a?%zz": "/p/a",
            b"/p/a&b=c": "/p/a&b=c",
            b"/p/a:80@b": "/p/a:80@b",
            b"/p/{a}|^`<>\"'": "/p/%7Ba%7D%7C%5E%60%3C%3E%22'",
            b"/p/http://x/": "/p/http://x/",
            b"/P/A": "/P/A",
        }.items()
    ],
    *[
        refused(f"path {raw.decode('ascii', 'backslashreplace')}", target(raw))
        for raw in (
            b"/p/a%",
            b"/p/x/%2E%2e%2fa",
            b"/p/..\\a",
            b"/p/..%5c..%5ca",
            b"/p/..;/a",
            b"/p/a%2",
            b"/p/a%zz",
            b"/p/a%u002f",
            b"/p/a%%32%66",
            b"/p/a%00",
            b"/p/a%00.jpg",
            b"/p/a%0d%0aX:%20y",
            b"/p/a%0A",
            b"/p/a%7f",
            b"/p/a%1b",
            b"/p/%c0%af",
            b"/p/%c0%ae%c0%ae/a",
            b"/p/%e0%80%af",
            b"/p/%f0%80%80%af",
            b"/p/%ed%a0%80",
            b"/p/%ff",
            b"/p/%c3",
            b"/p/\xc3\xbc",
            b"/p/\xff",
            b"/p/a\0b",
            b"/p/a\x01",
            b"/p/a\x7f",
            b"/p/a\x0bb",
            b"/p/a\x80",
            b"/p/a#b",
            b"/p/a?b#c",
            b"/p/a?b\0",
            b"/p/a?\xff",
            b"/p/a b",
        )
    ],
    open_after("the root", target(b"/"), 404),
    open_after("the root by dots", target(b"/p/.."), 404),
    open_after("the root by escaped dots", target(b"/p/%2e%2e/"), 404),
    open_after("the root by slashes", target(b"///"), 404),
]

CONNECTIONS = [
    harmless("connection to be kept", b"Connection: keep-alive"),
    harmless("connection to be kept, in capitals", b"Connection: Keep-Alive"),
    harmless("connection to be closed", b"Connection: close", closes=True),
    harmless("connection to be closed, in capitals", b"Connection: CLOSE", closes=True),
    harmless("connection to be closed, among others", b"Connection: x-a, close", closes=True),
    harmless("connection to be kept and closed", b"Connection: keep-alive, close", closes=True),
    harmless("connection to be closed by an old name", b"Proxy-Connection: close", closes=True),
    served("fields named as this hop's", head(b"Connection: host, x-a", b"X-A: b", b"Keep-Alive: timeout=1")),
    harmless("HTTP/2 offered", b"Upgrade: h2c"),
    served(
        "HTTP/2 asked for",
        head(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        closes=True,
    ),
    served("WebSocket asked for", head(b"Connection: Upgrade", b"Upgrade: websocket"), closes=True),
    harmless("WebSocket offered", b"Upgrade: websocket"),
    harmless("continuation expected", b"Expect: 100-continue"),
    harmless("continuation expected, in capitals", b"Expect: 100-Continue "),
    served("continuation expected on HTTP/1.0", head(b"Expect: 100-continue", line=b"GET /a HTTP/1.0"), closes=True),
    field("expectation unknown", b"Expect: 200-ok", 417),
    field("expectation empty", b"Expect:", 417),
    field("expectation and another", b"Expect: 100-continue, x", 417),
    refused("expectation twice", head(b"Expect: 100-continue", b"Expect: 100-continue"), 417),
]

SIZES = [
    refused("target long", target(b"/" + b"x" * 8192), 414),
    refused("target very long", target(b"/" + b"x" * 100_000), 414),
    refused("target long by its query", target(b"/a?" + b"x" * 8192), 414),
    refused("key long", target(b"/" + b"x" * 1025), 414),
    refused("fields many", head(*[b"X-%d: y" % n for n in range(100)]), 431),
    refused("fields very many", head(*[b"X:" for n in range(10_000)]), 431),
    refused("field huge", head(b"X: " + b"y" * 33_000), 431),
    refused("field very huge", head(b"X: " + b"y" * 1_000_000), 431),
    refused("name huge", head(b"X" * 33_000 + b": y"), 431),
    refused("blanks many before a value", head(b"X:" + b" " * 33_000 + b"y"), 431),
    refused("blanks many after a value", head(b"X: y" + b" " * 33_000), 431),
    refused("blanks many before the target", head(line=b"GET" + b" " * 33_000 + b"/a HTTP/1.1"), 431),
    refused("method endless", b"X" * 40_000),
    refused("target endless", b"GET /" + b"x" * 40_000, 414),
    refused("unknown method with an endless target", b"FROBNICATE /" + b"x" * 40_000, 431),
    refused("head endless", head()[:-2] + b"X: y\r\n" * 10_000, 431),
    refused("wrong in its second field, and huge", head(b": y", b"X: " + b"y" * 40_000)),
    refused("huge before what is wrong", head(b"X: " + b"y" * 40_000, b": y"), 431),
    served("fields just not too many", head(*[b"X-%d: y" % n for n in range(99)])),
    served("head just not too large", head(b"X: " + b"y" * (32_768 - len(head(b"X: "))))),
    refused("head just too large", head(b"X: " + b"y" * (32_769 - len(head(b"X: ")))), 431),
    served("query just not too long", target(b"/a?" + b"x" * (8192 - 3))),
]

SEQUENCES = [
    Case("two requests", head() + SMALL, (200, 200), False, ("/a", "/b")),
    Case("an empty line between", head() + b"\r\n" + SMALL, (200, 200), False, ("/a", "/b")),
    Case("two empty lines between", head() + b"\r\n\r\n" + SMALL, (200, 400), True, ("/a",)),
    Case("a bare LF between", head() + b"\n" + SMALL, (200, 400), True, ("/a",)),
    Case("garbage behind", head() + b"garbage\r\n\r\n", (200, 400), True, ("/a",)),
    Case("a body nobody announced", head() + b"hello, world", (200, 400), True, ("/a",)),
    Case("a form nobody announced", head() + b"a=b&c=d\r\n", (200, 400), True, ("/a",)),
    Case("a blank behind", head() + b" " + SMALL, (200, 400), True, ("/a",)),
    Case("a chunk behind", head() + CHUNKS, (200, 400), True, ("/a",)),
    Case("TLS behind", head() + b"\x16\x03\x01\x01\x33\x01\x00", (200, 400), True, ("/a",)),
    Case("NULs behind", head() + bytes(10), (200, 400), True, ("/a",)),
    Case("a wrong request between two", head() + head(b": y") + SMALL, (200, 400), True, ("/a",)),
    Case("another version behind", head() + head(line=b"GET /b HTTP/2.0"), (200, 505), True, ("/a",)),
    Case("another host behind", head() + target(b"/b", host=b"Host: b.example\r\n"), (200, 200), False, ("/a", "/b")),
    Case("a wrong host behind", head() + target(b"/b", host=b"Host: b@c\r\n"), (200, 400), True, ("/a",)),
    Case("two blanks behind a good line", head() + head(line=b"GET  /b HTTP/1.1"), (200, 400), True, ("/a",)),
    Case("RTSP behind", head() + head(line=b"GET /b RTSP/1.1"), (200, 400), True, ("/a",)),
    Case(
        "a refusal between two", head() + head(line=b"PUT /b HTTP/1.1") + SMALL, (200, 405, 200), False, ("/a", "/b")
    ),
    Case("more after the last", head(b"Connection: close") + SMALL, (200,), True, ("/a",)),
    Case("more after HTTP/1.0", head(line=b"GET /a HTTP/1.0") + SMALL, (200,), True, ("/a",)),
    Case("more after an upgrade", head(b"Connection: upgrade", b"Upgrade: x") + SMALL, (200,), True, ("/a",)),
    Case("more after a body", head() + head(b"Content-Length: 3") + b"abc" + SMALL, (200, 400), True, ("/a",)),
]

UNKEYED = [
    harmless(f"{name} {value}", b"%b: %b" % (name.encode(), value.encode()))
    for name, value in [
        ("X-Original-URL", "/admin"),
        ("X-Rewrite-URL", "/admin"),
        ("X-Host", "other.example"),
        ("X-Forwarded-Scheme", "http"),
        ("X-Forwarded-Server", "other.example"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Amz-Security-Token", "t"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amz-copy-source", "/bucket/secret"),
        ("x-amz-server-side-encryption-customer-key", "k"),
        ("x-amz-request-payer", "requester"),
        ("x-goog-user-project", "p"),
        ("Cookie", "session=1"),
        ("Authorization", "Basic YTpi"),
        ("Proxy-Authorization", "Basic YTpi"),
        ("Accept-Encoding", "gzip"),
        ("Accept-Language", "de"),
        ("Origin", "https://other.example"),
        ("Access-Control-Request-Method", "DELETE"),
        ("Max-Forwards", "0"),
        ("Via", "1.0 x"),
        ("User-Agent", "() { :;}; echo"),
        ("Cache-Control", "no-store"),
        ("Pragma", "no-cache"),
        ("If-None-Match", '"x"'),
        ("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("Shield-Peer", "hit"),
    ]
]

CASES = [
    *FRAMING,
    *LINES,
    *REQUEST_LINES,
    *METHODS,
    *HOSTS,
    *FORMS,
    *PATHS,
    *CONNECTIONS,
    *SIZES,
    *SEQUENCES,
    *UNKEYED,
]


@dataclass(frozen=True)
class Stream:
    """Fields of a request over HTTP/2, and the status it gets; None: the server ends the connection instead."""

    name: str
    fields: tuple[tuple[bytes, bytes], ...]
    status: int | None
    asked: tuple[str, ...] = ()
    body: bytes = b""


_PLAIN = {b":method": b"GET", b":scheme": b"https", b":authority": b"cdn.example", b":path": b"/a"}


def stream(
    name: str,
    status: int | None,
    *fields: tuple[bytes, bytes],
    change: dict[bytes, bytes | None] | None = None,
    asked: str = "/a",
    body: bytes = b"",
) -> Stream:
    """A plain request with pseudo-header fields changed (None: left out) and fields added."""
    pseudo = [(name, value) for name, value in {**_PLAIN, **(change or {})}.items() if value is not None]
    return Stream(name, (*pseudo, *fields), status, (asked,) if status == 200 else (), body)


def path(name: str, status: int | None, value: bytes, asked: str = "/a") -> Stream:
    return stream(name, status, change={b":path": value}, asked=asked)


STREAMS = [
    stream("plain", 200),
    Stream("pseudo-header fields in another order", tuple(reversed(_PLAIN.items())), 200, ("/a",)),
    Stream("pseudo-header field after others", ((b"x", b"y"), *_PLAIN.items()), None),
    *[stream(f"{name.decode()} twice", None, (name, value)) for name, value in _PLAIN.items()],
    *[stream(f"{name.decode()} missing", None, change={name: None}) for name in _PLAIN],
    stream("pseudo-header field unknown", None, (b":x", b"y")),
    stream("pseudo-header field of responses", None, (b":status", b"200")),
    stream("pseudo-header field of extended CONNECT", None, (b":protocol", b"websocket")),
    stream("name in capitals", None, (b"X-A", b"y")),
    stream("name empty", None, (b"", b"y")),
    stream("name with blank", None, (b"x y", b"z")),
    stream("name with colon", None, (b"x:y", b"z")),
    stream("name with parenthesis", 400, (b"x(", b"z")),
    stream("name not ASCII", None, (b"x\xfc", b"z")),
    stream("name with NUL", None, (b"x\0", b"z")),
    stream("Connection", None, (b"connection", b"close")),
    stream("Keep-Alive", None, (b"keep-alive", b"timeout=1")),
    stream("Proxy-Connection", None, (b"proxy-connection", b"close")),
    stream("Transfer-Encoding", None, (b"transfer-encoding", b"chunked")),
    stream("Upgrade", None, (b"upgrade", b"h2c")),
    stream("TE other than trailers", None, (b"te", b"gzip")),
    stream("TE", 200, (b"te", b"trailers")),
    stream("length without body", 400, (b"content-length", b"5")),
    stream("length zero", 200, (b"content-length", b"0")),
    stream("length twice", 400, (b"content-length", b"0"), (b"content-length", b"0")),
    stream("length in words", None, (b"content-length", b"x")),
    stream("length negative", None, (b"content-length", b"-1")),
    stream("length too large for the body", None, (b"content-length", b"5"), body=b"abc"),
    stream("length too small for the body", None, (b"content-length", b"2"), body=b"abc"),
    stream("body announced", 400, (b"content-length", b"3"), body=b"abc"),
    stream("body not announced", 400, body=b"abc"),
    stream("POST with body", 405, change={b":method": b"POST"}, body=b"abc"),
    path("path empty", None, b""),
    path("path without slash", 400, b"a"),
    path("path asterisk", 400, b"*"),
    path("path in absolute-form", 200, b"https://cdn.example/a"),
    path("path in absolute-form of another host", 400, b"https://other.example/a"),
    path("path with blank", 400, b"/a b"),
    path("path with NUL", None, b"/a\0"),
    path("path with LF", None, b"/a\nb"),
    path("path with CRLF and a request", None, b"/a HTTP/1.1\r\nHost: x\r\n\r\nGET /b"),
    path("path with control byte", 400, b"/a\x01"),
    path("path with fragment", 400, b"/a#b"),
    path("query with fragment", 400, b"/a?b#c"),
    path("query with blank", 400, b"/a?b c"),
    path("query not ASCII", 400, b"/a?\xc3\xbc"),
    path("path with broken escape", 400, b"/a%zz"),
    path("path with escaped NUL", 400, b"/a%00"),
    path("path with overlong slash", 400, b"/p/%c0%af"),
    path("path with escaped dots", 200, b"/p/x/%2e%2e/a", "/p/a"),
    path("path with two slashes", 200, b"//p/a", "/p/a"),
    path("path long", 414, b"/" + b"x" * 9000),
    stream("value with CR", None, (b"x", b"y\rz")),
    stream("value with LF", None, (b"x", b"y\nz")),
    stream("value with CRLF", None, (b"x", b"y\r\nz: a")),
    stream("value with NUL", None, (b"x", b"y\0")),
    stream("value with control byte", 400, (b"x", b"y\x01")),
    stream("value with delete", 400, (b"x", b"y\x7f")),
    stream("value with blank before", None, (b"x", b" y")),
    stream("value not ASCII", 200, (b"x", b"\xc3\xbc")),
    stream("method unknown", 405, change={b":method": b"FROBNICATE"}),
    stream("method empty", 405, change={b":method": b""}),
    stream("method with a target", 405, change={b":method": b"GET /b"}),
    stream("OPTIONS of everything", 405, change={b":method": b"OPTIONS", b":path": b"*"}),
    stream("CONNECT", 405, change={b":method": b"CONNECT", b":scheme": None, b":path": None}),
    stream(
        "CONNECT with a body", 405, change={b":method": b"CONNECT", b":scheme": None, b":path": None}, body=b"abc"
    ),
    stream("method not ASCII", 400, change={b":method": b"G\xcbT"}),
    path("path not ASCII", 400, b"/\xc3\xbc"),
    stream("CONNECT with a path", None, change={b":method": b"CONNECT"}),
    stream("host empty", 400, change={b":authority": b""}),
    stream("host with user", 400, change={b":authority": b"user@cdn.example"}),
    stream("host with path", 400, change={b":authority": b"cdn.example/a"}),
    stream("host as list", 400, change={b":authority": b"cdn.example,other.example"}),
    stream("host with port too large", 400, change={b":authority": b"cdn.example:99999"}),
    stream("host by field alone", 200, (b"host", b"cdn.example"), change={b":authority": None}),
    stream("host by field alone, with user", 400, (b"host", b"a@b"), change={b":authority": None}),
    stream("host by field too", 200, (b"host", b"cdn.example")),
    stream("host by field, another", None, (b"host", b"other.example")),
    stream("host by field twice", None, (b"host", b"cdn.example"), (b"host", b"cdn.example")),
    stream("fields many", 431, *[(b"x-%d" % n, b"y") for n in range(100)]),
    stream("field huge", 431, (b"x", b"y" * 33_000)),
    stream("field very huge", None, (b"x", b"y" * 100_000)),
    stream("continuation expected", 200, (b"expect", b"100-continue")),
    stream("expectation unknown", 417, (b"expect", b"x")),
    stream(
        "fields that are no part of the key",
        200,
        (b"x-forwarded-host", b"other.example"),
        (b"x-original-url", b"/b"),
        (b"x-amz-security-token", b"t"),
        (b"cookie", b"a=b"),
        (b"authorization", b"Basic YTpi"),
    ),
]
