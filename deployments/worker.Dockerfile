# A worker for GPU hosts that run containers, and the image of the Kubernetes jobs. Built from the project's folder:
#
#   docker build --file deployments/worker.Dockerfile --tag mlperf-submission:local .
#   sudo install --directory --owner 10001 /data/mlperf
#   docker run --detach --restart always --gpus all --env-file worker.env --ulimit memlock=-1 --shm-size 8g \
#       --volume /run/lock:/run/lock --volume /data/mlperf:/opt/mlperf-submission/work mlperf-submission:local
#
# The work folder has to belong to the image's user, who is not root. /run/lock is the host's: measurements exclude
# each other across containers and whatever runs beside them.
# A base with TensorRT inside (nvcr.io/nvidia/tensorrt:…) works as well; then build with EXTRAS=gpu. CUDA 12 runs on
# every driver from 525 on; EXTRAS=tensorrt-cu13 with a base of CUDA 13 wants 580.
ARG BASE_IMAGE=nvidia/cuda:12.6.3-base-ubuntu24.04
FROM ${BASE_IMAGE}

ARG EXTRAS=tensorrt-cu12

ENV PATH=/opt/venv/bin:${PATH} \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    PREFECT_HOME=/var/lib/mlperf-submission/prefect

# The base image's release names the versions.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates pciutils python3 python3-venv tini \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/venv \
    && useradd --system --uid 10001 --home-dir /var/lib/mlperf-submission --create-home mlperf

WORKDIR /opt/mlperf-submission
COPY . .
# CUDA's bindings are of the major version that the extra names, not of that which the tests had.
RUN sed '/^cuda-/d' constraints.txt > /tmp/constraints.txt \
    && pip install --constraint /tmp/constraints.txt --editable ".[${EXTRAS}]" \
    && install --directory --owner mlperf work

USER 10001
VOLUME /opt/mlperf-submission/work
ENTRYPOINT ["tini", "-g", "--"]
CMD ["sh", "-c", "exec prefect worker start --type process --pool mlperf --work-queue \"${MLPERF_QUEUE:?}\" --limit 1"]
