# overopt on an image of your choice with Python 3.11 or later. For a GPU: an image that contains CUDA and PyTorch, and no PIP_ARGS.
#
#   docker build -t overopt .
#   docker build -t overopt:cuda --build-arg BASE=pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime --build-arg PIP_ARGS= .
#   docker run --rm -v "$PWD/out:/out" overopt demo --out /out/demo
ARG BASE=python:3.11-slim
FROM ${BASE}

# Passed to pip; by default PyTorch comes from the index of its CPU builds.
ARG PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

# The C compiler is for two functions that make sampling on a CPU faster; without it, PyTorch computes the same.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

# Some images protect their system's Python; in a container it has no other users.
ENV PIP_BREAK_SYSTEM_PACKAGES=1

WORKDIR /opt/overopt
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python3 -m pip install --no-cache-dir ${PIP_ARGS} '.[gguf,peft,rouge]'

COPY examples ./examples
ENTRYPOINT ["overopt"]
CMD ["--help"]
