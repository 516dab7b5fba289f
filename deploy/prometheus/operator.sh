#!/usr/bin/env bash
# Makes deploy/kubernetes/monitoring/prometheusrule.yaml of shield.rules.yaml.
set -euo pipefail
cd "$(dirname "$0")"
{
    cat <<'HEAD'
# deploy/prometheus/shield.rules.yaml for the Prometheus operator; made by deploy/prometheus/operator.sh.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: shield
  labels: {app.kubernetes.io/name: shield}
spec:
HEAD
    sed -n '/^groups:/,$ s/^\(.\)/  \1/p' shield.rules.yaml
} >../kubernetes/monitoring/prometheusrule.yaml
