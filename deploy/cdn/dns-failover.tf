terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "zone_id" { type = string }

variable "nodes" {
  type        = map(object({ address = string, role = string }))
  description = "By name; one has the role PRIMARY, one SECONDARY."
  default = {
    "fra-1" = { address = "192.0.2.11", role = "PRIMARY" }
    "iad-1" = { address = "192.0.2.21", role = "SECONDARY" }
  }
}

resource "aws_route53_health_check" "node" {
  for_each          = var.nodes
  type              = "HTTPS"
  ip_address        = each.value.address
  fqdn              = "shield.example.net"
  port              = 8443
  resource_path     = "/health"
  request_interval  = 10
  failure_threshold = 3
  tags              = { Name = each.key }
}

resource "aws_route53_record" "shield" {
  for_each        = var.nodes
  zone_id         = var.zone_id
  name            = "shield.example.net"
  type            = "A"
  ttl             = 30
  records         = [each.value.address]
  set_identifier  = each.key
  health_check_id = aws_route53_health_check.node[each.key].id

  failover_routing_policy {
    type = each.value.role
  }
}
