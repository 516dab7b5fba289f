terraform {
  required_providers {
    bunnynet = {
      source = "BunnyWay/bunnynet"
    }
  }
}

variable "shield_secret" {
  type      = string
  sensitive = true
}

resource "bunnynet_pullzone" "images" {
  name = "example-images"

  origin {
    type                = "OriginUrl"
    url                 = "https://shield.example.net:8443"
    follow_redirects    = false
    forward_host_header = false
    verify_ssl          = true
  }

  routing {
    tier = "Standard"
  }

  # As long as Shield says; the key is the path.
  cache_enabled         = true
  cache_expiration_time = -1
  cache_errors          = false
  cache_vary            = []
  sort_querystring      = true
  strip_cookies         = true
  cache_stale           = ["offline", "updating"]

  # One place asks the node, and once for each object.
  originshield_enabled       = true
  request_coalescing_enabled = true
  request_coalescing_timeout = 15

  # The node moves on to its second origin within 10 s; then another attempt makes sense.
  safehop_enabled            = true
  safehop_retry_count        = 1
  safehop_retry_delay        = 1
  safehop_retry_reasons      = ["connectionTimeout", "5xxResponse", "responseTimeout"]
  safehop_connection_timeout = 3
  safehop_response_timeout   = 30

  block_post_requests = true
}

resource "bunnynet_pullzone_edgerule" "secret" {
  enabled           = true
  pullzone          = bunnynet_pullzone.images.id
  description       = "Secret for Shield"
  action            = "SetRequestHeader"
  action_parameter1 = "X-Shield-Secret"
  action_parameter2 = var.shield_secret
  match_type        = "MatchAny"
  triggers = [{
    type       = "Url"
    match_type = "MatchAny"
    patterns   = ["*"]
    parameter1 = null
    parameter2 = null
  }]
}
