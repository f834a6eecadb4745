# Two images, with the versions of constraints/pinned.txt; BuildKit makes them (Docker's own builder since 23):
#   docker build -t facelex .                        recognition, video and the web server; no PyTorch
#   docker build --target train -t facelex-train .   training as well, for a CPU or NVIDIA GPUs
# What they hold and how to run them: docs/docker.md.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY constraints/pinned.txt constraints/
RUN --mount=type=cache,target=/root/.cache/pip pip install --constraint constraints/pinned.txt hatchling
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:${PYTHON}-slim AS base
RUN useradd --uid 1000 facelex && mkdir /data && chown facelex /data
COPY constraints/pinned.txt /constraints.txt
ENV PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
WORKDIR /data
ENTRYPOINT ["facelex"]
CMD ["--help"]

FROM base AS train
# The compiler makes the loops that training on a CPU runs; they lie where every user may write.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/* \
    && mkdir -m 1777 /tmp/torchinductor
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint /constraints.txt "$(echo /wheels/*.whl)[train,tune,track,table,video,heic,hub]"
# The commit that the image holds, for the record of each run.
ARG COMMIT=""
ENV FACELEX_COMMIT=${COMMIT} TORCHINDUCTOR_CACHE_DIR=/tmp/torchinductor HOME=/tmp
USER facelex

FROM base AS recognize
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint /constraints.txt "$(echo /wheels/*.whl)[serve,video,table,heic,hub]"
ENV HOME=/tmp
EXPOSE 8000
USER facelex
