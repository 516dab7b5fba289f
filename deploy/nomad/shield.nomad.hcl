# Two nodes with the docker driver: nomad job run -var image=registry.example.net/shield:0.1.0 deploy/nomad/shield.nomad.hcl
# Each has a volume of its host (client.host_volume "shield" in the agent's configuration) and secrets from Vault.

variable "image" {
  type        = string
  description = "Image of the node, with its tag."
}

variable "datacenters" {
  type    = list(string)
  default = ["dc1"]
}

variable "settings" {
  type        = string
  default     = "config/one-machine.yaml"
  description = "The nodes' shield.yaml. admin.listen has to be 0.0.0.0:9180 for the checks, with admin.tokens."
}

job "shield" {
  datacenters = var.datacenters
  type        = "service"

  group "node" {
    count = 2

    # A cache directory belongs to one node.
    constraint {
      distinct_hosts = true
    }

    update {
      max_parallel     = 1
      health_check     = "checks"
      min_healthy_time = "10s"
      auto_revert      = true
    }

    network {
      port "http" {
        static = 8080
        to     = 8080
      }
      port "admin" {
        to = 9180
      }
    }

    volume "cache" {
      type   = "host"
      source = "shield"
    }

    # Deregisters the node before it gets the signal to stop.
    service {
      name     = "shield"
      port     = "http"
      provider = "consul"

      check {
        name     = "ready"
        type     = "http"
        port     = "admin"
        path     = "/ready"
        interval = "5s"
        timeout  = "2s"
      }
    }

    shutdown_delay = "10s"

    task "shield" {
      driver       = "docker"
      user         = "10001:10001"
      kill_signal  = "SIGTERM"
      kill_timeout = "60s" # above drain.delay and drain.timeout

      config {
        image           = var.image
        args            = ["serve", "--config", "/local/shield.yaml"]
        ports           = ["http", "admin"]
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]

        mount {
          type   = "tmpfs"
          target = "/tmp"
        }
      }

      volume_mount {
        volume      = "cache"
        destination = "/var/cache/shield"
      }

      template {
        data        = file(var.settings)
        destination = "local/shield.yaml"
        change_mode = "restart"
      }

      # Variables of the environment are settings, too: SHIELD_ORIGINS__MAIN__SECRET_KEY.
      vault {
        policies = ["shield"]
      }

      template {
        data        = <<-END
          {{ with secret "kv/data/shield" }}{{ range $name, $value := .Data.data }}
          {{ $name }}={{ $value | toJSON }}
          {{ end }}{{ end }}
        END
        destination = "secrets/shield.env"
        env         = true
      }

      env {
        SHIELD_NODE          = "${node.unique.name}"
        SHIELD_ADMIN__LISTEN = "0.0.0.0:9180"
      }

      resources {
        cpu    = 2000
        memory = 4096
      }
    }
  }
}
