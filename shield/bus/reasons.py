"""Why an engine can't be used, and what to do about it, from errors of redis-py. Passwords aren't in those."""

from __future__ import annotations

_NO_PRIMARY = (
    "no sentinel names a primary of that name: they are choosing another one, can't be reached, "
    "or know it by another name"
)

_PERHAPS_TLS = "if it has TLS at that port, rediss:// in place of redis://"
# An engine that refuses a certificate, or misses one, often cuts the connection before its alert is read.
_NOT_OURS = (
    "if it has no TLS at that port, redis:// in place of rediss://; else it may refuse ours, or want one: "
    "certificate_file and key_file"
)
_CUT = ("Connection closed by server", "Connection reset by peer", "Timeout connecting")

# Words of an error, and what is said behind it; the first that fits.
_REMEDIES = (
    ("unable to get local issuer", "the authority of its certificate must be in ca_file"),
    ("self-signed certificate", "the authority of its certificate must be in ca_file"),
    ("self signed certificate", "the authority of its certificate must be in ca_file"),
    ("certificate is not valid for", "name the engine by a host that its certificate has"),
    ("Hostname mismatch", "name the engine by a host that its certificate has"),
    ("IP address mismatch", "name the engine by a host that its certificate has"),
    ("certificate required", "it wants one of ours: certificate_file and key_file"),
    ("KEY_VALUES_MISMATCH", "certificate_file and key_file don't belong together"),
    ("PEM lib", "certificate_file and key_file must be in PEM, the key not encrypted"),
    ("alert unknown ca", "it doesn't know the authority of certificate_file"),
    ("WRONG_VERSION_NUMBER", "it has no TLS at that port: redis:// in place of rediss://"),
    ("record layer failure", "it has no TLS at that port: redis:// in place of rediss://"),
    ("WRONGPASS", "compare user and password in cluster.bus with those of the engine"),
    ("invalid username-password", "compare user and password in cluster.bus with those of the engine"),
    ("Authentication required", "put its password into cluster.bus, or into a file named by cluster.bus_file"),
    ("called without any password configured", "the engine has no password: take it out of cluster.bus"),
    ("o permissions", "docs/cluster.md has the rights that its user needs"),
    ("read only replica", "it is a replica: name the primary, or the sentinels that know it"),
    ("MOVED ", "it is part of a cluster: redis+cluster:// in place of redis://"),
    ("unknown command 'SENTINEL'", "no sentinel is at that port: theirs is 26379, mostly"),
    ("unknown command", "a version before 6.2, or commands were renamed there"),
)


def reason(error: BaseException, *, is_tls: bool, is_known: bool) -> str:
    """The error as people can act on it. `is_known`: the engine has answered before, by the same address."""
    if type(error).__name__ == "MasterNotFoundError":  # its own text has whole clients in it
        return _NO_PRIMARY
    said = str(error).strip().rstrip(".") or "no answer in time"
    remedy = next((what for words, what in _REMEDIES if words in said), "")
    if not remedy and not is_known and any(words in said for words in _CUT):
        remedy = _NOT_OURS if is_tls else _PERHAPS_TLS
    return f"{said}: {remedy}" if remedy else said
