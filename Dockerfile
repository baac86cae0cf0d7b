# One image for both services: `python -m relay` (the default) and `python -m worker`.
# It writes nothing, so its root may be read-only. Pin the base image by digest where you build for production.

FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python3 -m venv --without-pip /opt/tailrace

# The dependencies change more rarely than the code: a layer of their own.
COPY requirements/build.lock requirements/run.lock requirements/
RUN pip install --no-deps --require-hashes -r requirements/build.lock \
 && pip --python /opt/tailrace/bin/python install --no-deps --only-binary :all: --require-hashes -r requirements/run.lock

COPY pyproject.toml README.md LICENSE ./
COPY clients clients
COPY shared shared
COPY relay relay
COPY worker worker
COPY tailrace tailrace
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip --python /opt/tailrace/bin/python install --no-deps --no-index /wheels/*.whl


FROM python:3.11-slim
COPY --from=build /opt/tailrace /opt/tailrace
COPY deploy/healthcheck.py deploy/preflight.py /opt/tailrace/deploy/

# The relay's address is left on loopback: whoever opens it with TAILRACE_HOST=0.0.0.0 has to give API keys as well.
ENV PATH=/opt/tailrace/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TAILRACE_PORT=8080 \
    TAILRACE_WORKER_METRICS_HOST=0.0.0.0 \
    TAILRACE_WORKER_METRICS_PORT=9090

USER 10001:10001
WORKDIR /opt/tailrace
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s --retries=3 \
    CMD ["python", "-S", "/opt/tailrace/deploy/healthcheck.py", "8080", "9090"]
CMD ["python", "-m", "relay"]
