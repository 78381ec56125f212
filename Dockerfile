# The image of k8s/: Ray head and workers, the job submitter, and the MLflow server. Its tag is the package's version:
#   docker build -t raysample:0.1.0 .
# PyPI's Linux wheels of torch carry CUDA; for CPUs only, point pip at the CPU wheels: --build-arg PIP_EXTRA_INDEX_URL=...
FROM python:3.11-slim-bookworm

# wget: KubeRay's health probes run it inside Ray's containers.
RUN apt-get update \
    && apt-get install -y --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 ray \
    && useradd --uid 1000 --gid 1000 --create-home ray

ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0 \
    MLFLOW_DISABLE_TELEMETRY=true

WORKDIR /opt/raysample
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY raysample raysample
COPY examples examples
RUN pip install -c constraints.txt '.[all]'
COPY jobs jobs

USER 1000:1000
