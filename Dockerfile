# The MAP (MONAI Application Package 1.0): `docker build -t spondyl .`, or `./run image` without Docker; see docs/container.md.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# --- the packages, from requirements.lock alone -------------------------------------------------------------------
FROM ${BASE_IMAGE} AS packages
# An index of CPU builds of torch and torchvision makes the CPU flavour; empty, the regular builds bring CUDA along.
ARG TORCH_INDEX=""
ENV UV_CACHE_DIR=/var/cache/uv UV_LINK_MODE=copy
WORKDIR /build
COPY run requirements.lock pyproject.toml ./
# The secret is the certificate authorities of a network that has its own; without it the public ones are used.
RUN --mount=type=cache,target=/var/cache/uv --mount=type=secret,id=authorities,target=/run/authorities.pem \
    if [ -e /run/authorities.pem ]; then export SSL_CERT_FILE=/run/authorities.pem PIP_CERT=/run/authorities.pem; fi; \
    TORCH_INDEX="${TORCH_INDEX}" ./run packages /opt/spondyl

# --- the application as it will lie in the image --------------------------------------------------------------------
FROM ${BASE_IMAGE} AS application
ENV PYTHONPATH=/image/opt/holoscan/app PYTHONDONTWRITEBYTECODE=1
COPY app /image/opt/holoscan/app/app
COPY operators /image/opt/holoscan/app/operators
COPY models /image/opt/holoscan/app/models
COPY manifests /image/opt/holoscan/app/manifests
COPY app.yaml pyproject.toml LICENSE NOTICE /image/opt/holoscan/app/
COPY app.yaml /image/var/holoscan/app.yaml
COPY README.md CHANGELOG.md LICENSE NOTICE docs /image/opt/holoscan/docs/
RUN --mount=type=bind,from=packages,source=/opt/spondyl,target=/opt/spondyl \
    set -eu; cd /image; mv opt/holoscan/app/models/packs opt/holoscan/models; \
    mkdir -p usr/local/bin var/holoscan/input var/holoscan/output var/holoscan/logs var/holoscan/work; \
    /opt/spondyl/bin/python3 -m app.manifest etc/holoscan opt/holoscan/models; cp -r etc/holoscan etc/monai; \
    printf '#!/bin/sh\nexec python3 -m app.map_tools "$@"\n' >var/holoscan/tools; \
    printf '#!/bin/sh\nexec python3 -c "from app.cli import main; main()" "$@"\n' >usr/local/bin/spondyl; \
    /opt/spondyl/bin/python3 -m compileall -q -s /image -p / opt/holoscan/app; \
    chmod -R u=rwX,go=rX .; chmod 755 var/holoscan/tools usr/local/bin/spondyl; \
    chown 1000:1000 var/holoscan/output var/holoscan/logs var/holoscan/work

# --- the image ------------------------------------------------------------------------------------------------------
FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Spondyl" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.description="Segments spine studies beside a PACS. Not a medical device." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.nvidia.holoscan="4.6.0" \
      org.monai.deploy.app-sdk="4.0.0"
# Importing torch asks for a temporary folder: TEMP is for a one-shot run without a work folder.
ENV HOLOSCAN_APPLICATION=/opt/holoscan/app \
    HOLOSCAN_INPUT_PATH=/var/holoscan/input \
    HOLOSCAN_OUTPUT_PATH=/var/holoscan/output \
    HOLOSCAN_WORKDIR=/var/holoscan \
    HOLOSCAN_MODEL_PATH=/opt/holoscan/models \
    HOLOSCAN_CONFIG_PATH=/var/holoscan/app.yaml \
    HOLOSCAN_APP_MANIFEST_PATH=/etc/holoscan/app.json \
    HOLOSCAN_PKG_MANIFEST_PATH=/etc/holoscan/pkg.json \
    HOLOSCAN_DOCS_PATH=/opt/holoscan/docs \
    HOLOSCAN_LOGS_PATH=/var/holoscan/logs \
    HOLOSCAN_TIMEOUT=0 \
    HOLOSCAN_VERSION=4.6.0 \
    HOLOSCAN_LOG_LEVEL=ERROR \
    SPONDYL_CONFIG=/var/holoscan/app.yaml \
    SPONDYL_PACKS=/opt/holoscan/models \
    SPONDYL_STORAGE=/var/holoscan/work/spondyl-data \
    SPONDYL_NODE__HOST=0.0.0.0 \
    SPONDYL_DASHBOARD__HOST=0.0.0.0 \
    PATH=/opt/spondyl/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONPATH=/opt/holoscan/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/var/holoscan/work \
    TMPDIR=/var/holoscan/work \
    TEMP=/dev/shm
COPY --from=packages /opt/spondyl /opt/spondyl
COPY --from=application /image /
# Holoscan looks for the CUDA runtime among the system's libraries, also where there is no GPU.
RUN groupadd --gid 1000 spondyl && useradd --uid 1000 --gid 1000 --home-dir /var/holoscan/work --no-create-home spondyl \
    && ls -d /opt/spondyl/lib/python3.*/site-packages/nvidia/*/lib >/etc/ld.so.conf.d/spondyl.conf && ldconfig
WORKDIR /var/holoscan
USER 1000:1000
EXPOSE 11112 8080
ENTRYPOINT ["/var/holoscan/tools"]
