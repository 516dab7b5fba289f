terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "certificate_arn" { type = string }

variable "shield_secret" {
  type      = string
  sensitive = true
}

resource "aws_cloudfront_cache_policy" "images" {
  name        = "images"
  min_ttl     = 0
  default_ttl = 86400
  max_ttl     = 31536000

  parameters_in_cache_key_and_forwarded_to_origin {
    enable_accept_encoding_gzip   = false
    enable_accept_encoding_brotli = false
    headers_config { header_behavior = "none" }
    cookies_config { cookie_behavior = "none" }
    query_strings_config { query_string_behavior = "none" }
  }
}

resource "aws_cloudfront_distribution" "images" {
  enabled         = true
  is_ipv6_enabled = true
  http_version    = "http2and3"
  aliases         = ["images.example.net"]
  comment         = "Images, by way of Shield"

  dynamic "origin" {
    for_each = toset(["fra-1", "fra-2"])
    content {
      origin_id           = origin.value
      domain_name         = "${origin.value}.example.net"
      connection_attempts = 2
      connection_timeout  = 3

      custom_header {
        name  = "X-Shield-Secret"
        value = var.shield_secret
      }

      custom_origin_config {
        http_port                = 80
        https_port               = 8443
        origin_protocol_policy   = "https-only"
        origin_ssl_protocols     = ["TLSv1.2"]
        origin_keepalive_timeout = 60
        origin_read_timeout      = 30
      }

      origin_shield {
        enabled              = true
        origin_shield_region = "eu-central-1"
      }
    }
  }

  # The second node is asked when the first can't be reached or has no origin left.
  origin_group {
    origin_id = "nodes"
    failover_criteria { status_codes = [500, 502, 503, 504] }
    member { origin_id = "fra-1" }
    member { origin_id = "fra-2" }
  }

  default_cache_behavior {
    target_origin_id       = "nodes"
    cache_policy_id        = aws_cloudfront_cache_policy.images.id
    allowed_methods        = ["GET", "HEAD"]
    cached_methods         = ["GET", "HEAD"]
    viewer_protocol_policy = "redirect-to-https"
    compress               = false
  }

  # Errors of Shield aren't kept: it knows better how long they last.
  dynamic "custom_error_response" {
    for_each = toset([500, 502, 503, 504])
    content {
      error_code            = custom_error_response.value
      error_caching_min_ttl = 0
    }
  }

  restrictions {
    geo_restriction { restriction_type = "none" }
  }

  viewer_certificate {
    acm_certificate_arn      = var.certificate_arn
    ssl_support_method       = "sni-only"
    minimum_protocol_version = "TLSv1.2_2021"
  }
}
