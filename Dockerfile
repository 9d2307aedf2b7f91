# One image for every function, the simulator, the in-cluster Valkey and the console command. FUNCTION_SOURCE and
# FUNCTION_TARGET choose the function. Runs as a non-root user on a read-only root file system; only /tmp is written to.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# Where pip looks, when the builder's network has an index of its own (bin/build passes the variables on).
ARG PIP_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
RUN python -m venv /opt/knudge
ENV PATH=/opt/knudge/bin:$PATH
WORKDIR /app
COPY requirements/build.txt requirements/run.txt requirements/
# What builds comes first: one dependency has no wheel, and nothing that is not locked shall be fetched to build it.
RUN pip install --require-hashes -r requirements/build.txt \
 && pip install --require-hashes --no-build-isolation -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY common common
COPY functions functions
COPY cli cli
COPY local local
COPY simulator simulator
COPY knative knative
COPY examples examples
# In place, so that paths such as functions/evaluate/main.py and the modules on sys.path are the same files.
RUN pip install --no-deps --no-build-isolation --config-settings editable_mode=compat -e . \
 && rm -rf build requirements \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/knudge /app

FROM ${BASE}
# The official Python images ship no bytecode; on a read-only file system every cold start would compile the library again.
RUN python -m compileall -q --invalidation-mode unchecked-hash \
      -x '/(test|tests|idlelib|ensurepip|lib2to3|site-packages|dist-packages)/' \
      "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" || true
COPY --from=build /opt/knudge /opt/knudge
COPY --from=build /app /app
# What runs' manifests call this build: bin/build gives the commit.
ARG VERSION=""
ENV PATH=/opt/knudge/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    KNUDGE_VERSION=$VERSION \
    FUNCTION_SOURCE=functions/evaluate/main.py \
    FUNCTION_TARGET=evaluate \
    PORT=8080
WORKDIR /app
USER 10001:10001
EXPOSE 8080
CMD ["functions-framework"]
