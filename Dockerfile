# syntax=docker/dockerfile:1
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t neobench .     a GPU node; GB300 and GH200 are arm64
#   docker build --target cpu -t neobench:cpu .                              a machine without a GPU
#   docker run --rm --gpus all --user "$(id -u)" -e HOME=/tmp -v "$PWD/runs:/work/runs" neobench run smoke

FROM --platform=$BUILDPLATFORM python:3.12-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .


FROM ubuntu:24.04 AS cpu
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 bench \
    && install -d -o bench -g bench /work
ENV PATH=/opt/neobench/bin:$PATH
RUN --mount=from=wheel,source=/wheels,target=/wheels \
    --mount=source=constraints.txt,target=/constraints.txt \
    python3 -m venv /opt/neobench \
    && pip install --no-cache-dir --constraint /constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu /wheels/*.whl
USER 10001
WORKDIR /work
ENTRYPOINT ["bench"]
CMD ["--help"]


# The CUDA that torch's own wheels are built with. Triton compiles its launchers when a kernel is first used, which needs a
# C compiler and Python's headers.
FROM nvidia/cuda:13.0.3-runtime-ubuntu24.04 AS gpu
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 bench \
    && install -d -o bench -g bench /work
ENV PATH=/opt/neobench/bin:$PATH
RUN --mount=from=wheel,source=/wheels,target=/wheels \
    --mount=source=constraints.txt,target=/constraints.txt \
    python3 -m venv /opt/neobench \
    && pip install --no-cache-dir --constraint /constraints.txt /wheels/*.whl
USER 10001
WORKDIR /work
ENTRYPOINT ["bench"]
CMD ["--help"]
