"""How each server is set up: one core's worth of workers, a cache in RAM, keep-alive to the origin, no access log."""

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
class Place:
    """Where a server works: its own directory in RAM, its ports and the origin's, and its limit of descriptors."""

    directory: Path
    port: int
    admin_port: int
    origin_port: int
    descriptors: int

    def write(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        return str(path)


def shield(place: Place) -> list[str]:
    settings = {
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
        "log": {"access": "off"},
    }
    return [sys.executable, "-m", "shield", "serve", "--config", place.write("shield.yaml", json.dumps(settings))]


def nginx(place: Place) -> list[str]:
    connections = min(8192, place.descriptors // 2)
    config = f"""
daemon off;
worker_processes 1;
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
  proxy_cache_path cache levels=1:2 keys_zone=one:64m max_size={CACHE_MIB}m inactive=1h use_temp_path=off;
  open_file_cache max=10000;
  upstream origin {{
    server 127.0.0.1:{place.origin_port};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{place.port} backlog=4096;
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
  bind 127.0.0.1:{place.port}
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
