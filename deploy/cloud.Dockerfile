# The cloud's image: verifiers, their shards, and Ray's nodes. Built from the repository's root:
#   docker build -f deploy/cloud.Dockerfile -t airdraft-cloud:0.1.0 .
# For GPUs, torch's index is another one: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN apt-get update \
    && apt-get install -y --no-install-recommends procps wget \
    && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml README.md LICENSE constraints.txt /src/
COPY proto /src/proto
COPY edge /src/edge
COPY cloud /src/cloud
COPY orchestration /src/orchestration

RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple torch \
    && pip install --no-cache-dir -c /src/constraints.txt '/src[cloud,edge,cluster]' \
    && useradd --create-home --uid 1000 ray \
    && install -d -o ray /models

USER ray
WORKDIR /home/ray
ENV AIRDRAFT_CACHE=/models HF_HUB_CACHE=/models/hub PYTHONUNBUFFERED=1
VOLUME /models
EXPOSE 50051
ENTRYPOINT ["airdraft"]
CMD ["serve", "--listen", "0.0.0.0:50051"]
