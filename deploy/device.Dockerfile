# The device's image: a drafter and the command, without Ray and without the cloud's part. Built from the repository's root:
#   docker build -f deploy/device.Dockerfile -t airdraft-device:0.1.0 .
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

COPY pyproject.toml README.md LICENSE constraints.txt /src/
COPY proto /src/proto
COPY edge /src/edge
COPY cloud /src/cloud
COPY orchestration /src/orchestration

RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple torch \
    && pip install --no-cache-dir -c /src/constraints.txt '/src[edge]' \
    && useradd --create-home --uid 1000 airdraft \
    && install -d -o airdraft /models

USER airdraft
WORKDIR /home/airdraft
ENV AIRDRAFT_CACHE=/models HF_HUB_CACHE=/models/hub PYTHONUNBUFFERED=1
VOLUME /models
ENTRYPOINT ["airdraft"]
CMD ["chat"]
