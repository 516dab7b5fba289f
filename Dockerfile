# syntax=docker/dockerfile:1
#
# The image of a node:
#
#   docker build --build-arg REVISION="$(git rev-parse HEAD)" -t shield .
#   docker run --read-only --tmpfs /tmp --stop-timeout 60 -p 8080:8080 \
#     -v ./shield.yaml:/etc/shield/shield.yaml:ro -v ./secrets:/run/secrets:ro -v shield-cache:/var/cache/shield shield
#
# docs/install.md has more. `docker buildx build --sbom=true` makes an SBOM: scanners read the packages' own metadata,
# which is kept.

# The version of Python that the tests run on.
ARG PYTHON=3.11

# The full image, which has a C compiler.
FROM python:${PYTHON}-bookworm AS build
# 0: not compiled; builds in half a minute instead of three.
ARG COMPILE=1
ENV SHIELD_COMPILE=${COMPILE}
WORKDIR /src
COPY deploy/lock/build.txt deploy/lock/node.txt deploy/lock/
COPY pyproject.toml README.md setup.py ./
COPY shield shield
# Everything installed is pinned by the lock and checked by its hash. The node's environment has no pip: nothing needs it
# later. The empty directories give new volumes their owner.
RUN python -m venv /build && \
    /build/bin/python -m pip install --no-cache-dir --require-hashes -r deploy/lock/build.txt && \
    /build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . && \
    python -m venv --without-pip /opt/shield && \
    /build/bin/python -m pip --python /opt/shield/bin/python install --no-cache-dir --require-hashes \
        --only-binary :all: -r deploy/lock/node.txt && \
    /build/bin/python -m pip --python /opt/shield/bin/python install --no-cache-dir --no-deps /wheels/*.whl && \
    /opt/shield/bin/shield precompile && \
    install -d /empty/config /empty/cache

FROM python:${PYTHON}-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="shield" \
      org.opencontainers.image.description="Edge origin proxy: a CDN shield in front of S3 origins" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/shield /opt/shield
COPY --from=build /empty/config /etc/shield
COPY --from=build --chown=10001:10001 /empty/cache /var/cache/shield
ENV PATH=/opt/shield/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /
# Clients, and the admin listener. shield.yaml has the addresses: in a container 0.0.0.0, not loopback.
EXPOSE 8080 9180
VOLUME /var/cache/shield
# Drains, then exits with 0. Allow for drain.delay and drain.timeout: docker run --stop-timeout 60.
STOPSIGNAL SIGTERM
# Asks the admin listener. While the node drains it is unhealthy.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["shield", "health", "--config", "/etc/shield/shield.yaml"]
# No init is needed: serve handles SIGTERM as process 1, too, and waits for its own workers.
ENTRYPOINT ["shield"]
CMD ["serve", "--config", "/etc/shield/shield.yaml"]
