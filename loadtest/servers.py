"""How each server is set up: keep-alive to the origin, no access log; in most cases one core's worth of workers.

The cache is in RAM, or on a disk (`OnDisk`), which only Shield and nginx can.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CACHE_MIB = 512


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A cache on disk. `memory`: bytes of Shield's RAM tier; `threads`: nginx reads in threads, for a cold disk."""

    directory: Path
    capacity: int
    objects: int = 100_000
    memory: int = 0
    admission: str = "all"
    workers: int = 1
    threads: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server works: its own directory in RAM, its ports and the origin's, and its limit of descriptors.

    `tls` has `server.pem` and `server.key` if clients come by TLS; Varnish has no TLS.
    """

    directory: Path
    port: int
    admin_port: int
    origin_port: int
    descriptors: int
    disk: OnDisk | None = None
    tls: Path | None = None

    def write(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        return str(path)


def shield(place: Place) -> list[str]:
    return [sys.executable, "-m", "shield", "serve", "--config", shield_config(place)]


def shield_before(checkout: Path) -> Callable[[Place], list[str]]:
    """Another version of Shield: that of a checkout, in the same environment."""
    apart = ["env", f"PYTHONPATH={checkout.resolve()}", "PYTHONSAFEPATH=1"]
    return lambda place: [*apart, *shield(place)]


def shield_config(place: Place) -> str:
    """The settings' file."""
    settings: dict[str, object] = {
        "node": "bench",
        "listen": f"127.0.0.1:{place.port}",
        "admin": {"listen": f"127.0.0.1:{place.admin_port}"},
        "origins": {
            "one": {
                "provider": "http",
                "endpoint": f"http://127.0.0.1:{place.origin_port}",
                "role": "primary",
                "connections": 256,
            }
        },
        "cache": {"memory": {"capacity": f"{CACHE_MIB}MiB", "max_entry": "64MiB"}},
        "probes": {"interval": "off"},  # what requests cost is measured
        "access_log": {"format": "off"},
    }
    if (tls := place.tls) is not None:
        settings["tls"] = {"certificate_file": str(tls / "server.pem"), "key_file": str(tls / "server.key")}
    if (disk := place.disk) is not None:
        settings["workers"] = disk.workers
        settings["cache"] = {
            "memory": {"capacity": disk.memory},
            "tiers": [{"name": "disk", "directories": [{"path": str(disk.directory), "capacity": disk.capacity}]}],
            "admission": disk.admission,
        }
    return place.write("shield.yaml", json.dumps(settings))


def nginx(place: Place) -> list[str]:
    connections = min(8192, place.descriptors // 2)
    directory, size, files = "cache", f"{CACHE_MIB}m", "max=10000"
    workers, reading, zone = 1, "", 64
    encrypted, certificate = "", ""
    if (tls := place.tls) is not None:
        encrypted = " ssl"
        certificate = f"ssl_certificate {tls}/server.pem; ssl_certificate_key {tls}/server.key;"
    if (disk := place.disk) is not None:
        # As many files as may be stay open, and are looked at again once a minute; keys take about 128 bytes each.
        open_files = min(disk.objects, place.descriptors - 1000)
        directory, size, files = str(disk.directory), str(disk.capacity), f"max={open_files} inactive=1h"
        workers, zone = disk.workers, 64 + disk.objects // 4000
        reading = "aio threads;" if disk.threads else ""
    config = f"""
daemon off;
worker_processes {workers};
worker_rlimit_nofile {place.descriptors};
pid nginx.pid;
error_log nginx.log warn;
{"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections {connections}; multi_accept on; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  proxy_cache_path {directory} levels=1:2 keys_zone=one:{zone}m max_size={size} inactive=1h use_temp_path=off;
  open_file_cache {files};
  {reading}
  upstream origin {{
    server 127.0.0.1:{place.origin_port};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{place.port}{encrypted} backlog=4096;
    {certificate}
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache one;
      proxy_cache_lock on;
      proxy_cache_lock_timeout 120s;
      proxy_cache_lock_age 120s;
      proxy_buffers 16 16k;
      add_header X-Cache $upstream_cache_status;
    }}
  }}
}}
"""
    return ["nginx", "-p", str(place.directory), "-c", place.write("nginx.conf", config)]


def varnish(place: Place) -> list[str]:
    vcl = f"""
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{place.origin_port}"; }}
"""
    return [
        *("varnishd", "-F", "-j", "none", "-n", str(place.directory / "work")),
        *("-a", f"127.0.0.1:{place.port}", "-T", "none", "-f", place.write("default.vcl", vcl)),
        *("-s", f"malloc,{CACHE_MIB}m", "-p", "thread_pools=1", "-p", "thread_pool_max=5000"),
        *("-p", "thread_pool_min=100", "-p", "listen_depth=4096", "-p", "timeout_idle=600"),
        *("-p", "nuke_limit=100000"),  # else a full cache of small objects has no room for a large one
    ]


def haproxy(place: Place) -> list[str]:
    encrypted = ""
    if (tls := place.tls) is not None:
        both = (tls / "server.pem").read_text() + (tls / "server.key").read_text()
        encrypted = f" ssl crt {place.write('both.pem', both)}"
    config = f"""
global
  nbthread 1
  maxconn {min(8192, place.descriptors // 2 - 100)}
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  backlog 4096
cache one
  total-max-size {CACHE_MIB}
  max-object-size {CACHE_MIB * 2**20 // 2 - 1}
  max-age 3600
frontend front
  bind 127.0.0.1:{place.port}{encrypted}
  default_backend back
backend back
  http-request cache-use one
  http-response cache-store one
  http-reuse always
  server origin 127.0.0.1:{place.origin_port} pool-max-conn 256
"""
    return ["haproxy", "-db", "-f", place.write("haproxy.cfg", config)]


SERVERS: dict[str, Callable[[Place], list[str]]] = {
    "shield": shield,
    "nginx": nginx,
    "varnish": varnish,
    "haproxy": haproxy,
}
_PROGRAMS = {"nginx": "nginx", "varnish": "varnishd", "haproxy": "haproxy"}


def installed(name: str) -> bool:
    return name not in _PROGRAMS or shutil.which(_PROGRAMS[name]) is not None
