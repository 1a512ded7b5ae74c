# syntax=docker/dockerfile:1
# One file, one image per service, each holding only its own dependencies:
#   docker build -f deploy/service.Dockerfile --build-arg SERVICE=ingest --build-arg OPS_PORT=9101 -t touchstream-ingest .
# The archive runs in the image of `profile`; `--target command` builds the operator's command line instead.
ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
# The version of uv.lock; a test compares the two.
ARG UV_VERSION=0.13.9
RUN pip install --no-cache-dir --disable-pip-version-check uv==${UV_VERSION}
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/venv
WORKDIR /app
COPY pyproject.toml uv.lock ./

FROM build AS command-dependencies
COPY services/chassis/pyproject.toml services/chassis/
COPY services/ingest/pyproject.toml services/ingest/
COPY services/identity/pyproject.toml services/identity/
COPY services/profile/pyproject.toml services/profile/
COPY services/rules/pyproject.toml services/rules/
COPY services/notify/pyproject.toml services/notify/
RUN --mount=type=cache,target=/root/.cache/uv uv sync --frozen --package touchstream --no-default-groups --no-install-project

FROM build AS service-dependencies
ARG SERVICE
COPY services/chassis/pyproject.toml services/chassis/
COPY services/${SERVICE}/pyproject.toml services/${SERVICE}/
RUN --mount=type=cache,target=/root/.cache/uv uv sync --frozen --package touchstream-${SERVICE} --no-default-groups

FROM python:${PYTHON_VERSION}-slim-bookworm AS base
RUN useradd --system --uid 10001 --home-dir /tmp --no-create-home touchstream
# Listens on all addresses of the container; what is published is the orchestrator's decision.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app TOUCHSTREAM_OPS_HOST=0.0.0.0
WORKDIR /app
COPY schemas schemas
COPY services/chassis services/chassis

FROM base AS command
COPY --from=command-dependencies /venv /venv
COPY services services
COPY cli cli
COPY deploy deploy
USER 10001
ENTRYPOINT ["python", "-c", "from cli.main import main; main()"]

FROM base AS service
ARG SERVICE
ARG OPS_PORT
ENV SERVICE=${SERVICE} OPS_PORT=${OPS_PORT}
COPY --from=service-dependencies /venv /venv
COPY services/${SERVICE} services/${SERVICE}
COPY deploy/config deploy/config
COPY deploy/clickhouse deploy/clickhouse
USER 10001
# Alive, not ready: a service that waits for Kafka or Redis is healthy, restarting it would help nobody.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD python -c "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['OPS_PORT'] + '/healthz', timeout=2)"
# exec: the service is process 1 and receives the signal that asks it to drain.
CMD ["sh", "-c", "exec python -m services.${SERVICE}"]
