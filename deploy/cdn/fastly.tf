terraform {
  required_providers {
    fastly = {
      source  = "fastly/fastly"
      version = ">= 5.0"
    }
  }
}

variable "shield_secret" {
  type      = string
  sensitive = true
}

variable "pop" {
  type        = string
  description = "Code of the POP nearest to the nodes, from the field `shield` of Fastly's list of data centers."
}

resource "fastly_service_vcl" "images" {
  name = "images"

  domain {
    name = "images.example.net"
  }

  backend {
    name                  = "fra_1"
    address               = "fra-1.example.net"
    port                  = 8443
    use_ssl               = true
    ssl_cert_hostname     = "images.example.net"
    ssl_sni_hostname      = "images.example.net"
    ssl_check_cert        = true
    min_tls_version       = "1.2"
    shield                = var.pop
    healthcheck           = "health"
    max_conn              = 500
    keepalive_time        = 600
    connect_timeout       = 2000
    first_byte_timeout    = 15000
    between_bytes_timeout = 10000
  }

  healthcheck {
    name              = "health"
    host              = "images.example.net"
    path              = "/health"
    method            = "GET"
    expected_response = 200
    check_interval    = 15000
    timeout           = 12000
    window            = 5
    threshold         = 3
    initial           = 3
  }

  # Not stored, not sent to clients: only on the way to the origin.
  snippet {
    name    = "secret in misses"
    type    = "miss"
    content = "if (!req.backend.is_shield) { set bereq.http.X-Shield-Secret = \"${var.shield_secret}\"; }"
  }

  snippet {
    name    = "secret in passes"
    type    = "pass"
    content = "if (!req.backend.is_shield) { set bereq.http.X-Shield-Secret = \"${var.shield_secret}\"; }"
  }

  # The key is the path. Large objects come in segments, as Shield has them in slices.
  snippet {
    name    = "key"
    type    = "recv"
    content = <<-END
      set req.url = querystring.remove(req.url);
      if (req.url.ext ~ "^(mp4|webm|tiff?)$") { set req.enable_segmented_caching = true; }
    END
  }

  # Old pictures are better than none while Shield can't answer.
  snippet {
    name    = "stale"
    type    = "fetch"
    content = "if (beresp.status < 400) { set beresp.stale_while_revalidate = 60s; set beresp.stale_if_error = 86400s; }"
  }
}
