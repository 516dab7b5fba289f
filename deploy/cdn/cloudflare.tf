terraform {
  required_providers {
    cloudflare = {
      source  = "cloudflare/cloudflare"
      version = "~> 5.0"
    }
  }
}

variable "account_id" { type = string }
variable "zone_id" { type = string }

variable "shield_secret" {
  type      = string
  sensitive = true
}

# The secret goes to the origin only: it is set after the cache.
resource "cloudflare_ruleset" "secret" {
  zone_id = var.zone_id
  name    = "Secret for Shield"
  kind    = "zone"
  phase   = "http_request_late_transform"
  rules = [{
    expression = "http.host eq \"images.example.net\""
    action     = "rewrite"
    action_parameters = {
      headers = {
        "X-Shield-Secret" = {
          operation = "set"
          value     = var.shield_secret
        }
      }
    }
  }]
}

# Everything is cached, as long as Shield says, without the query.
resource "cloudflare_ruleset" "cache" {
  zone_id = var.zone_id
  name    = "Cache of images"
  kind    = "zone"
  phase   = "http_request_cache_settings"
  rules = [{
    expression = "http.host eq \"images.example.net\""
    action     = "set_cache_settings"
    action_parameters = {
      cache       = true
      edge_ttl    = { mode = "respect_origin" }
      browser_ttl = { mode = "respect_origin" }
      serve_stale = { disable_stale_while_updating = false }
      cache_key = {
        custom_key = {
          query_string = { exclude = { all = true } }
        }
      }
    }
  }]
}

resource "cloudflare_tiered_cache" "smart" {
  zone_id = var.zone_id
  value   = "on"
}

resource "cloudflare_load_balancer_monitor" "health" {
  account_id     = var.account_id
  type           = "https"
  method         = "GET"
  path           = "/health"
  expected_codes = "200"
  interval       = 60
  timeout        = 12
  retries        = 1
  header         = { "Host" = ["images.example.net"] }
}

resource "cloudflare_load_balancer_pool" "shield" {
  account_id = var.account_id
  name       = "shield"
  monitor    = cloudflare_load_balancer_monitor.health.id
  origins = [
    { name = "fra-1", address = "fra-1.example.net", port = 8443, enabled = true, weight = 1, header = { host = ["images.example.net"] } },
    { name = "fra-2", address = "fra-2.example.net", port = 8443, enabled = true, weight = 1, header = { host = ["images.example.net"] } },
  ]
}

resource "cloudflare_load_balancer" "images" {
  zone_id       = var.zone_id
  name          = "images.example.net"
  default_pools = [cloudflare_load_balancer_pool.shield.id]
  fallback_pool = cloudflare_load_balancer_pool.shield.id
  proxied       = true
}
