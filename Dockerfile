# firstlook with everything it needs, weights included. docs/cluster.md says how to build it; there it also says that
# this file has been read but never built.
#
#     docker build -t firstlook .
#     docker build -t firstlook:aws --build-arg LOCK=aws.lock .     # with s3fs and boto3, see docs/cluster.md

ARG BASE=python:3.11-slim-bookworm
# Pin it by digest (BASE=python@sha256:…) where the same file has to give the same image.

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/firstlook
ENV PATH=/opt/firstlook/bin:$PATH
WORKDIR /src

# Every package by its hash. Those that building openai-whisper needs (it comes without a wheel) are in the lock too,
# and are installed first, so that the build isolation of pip does not fetch others without a hash.
ARG LOCK=requirements.lock
COPY requirements.lock ${LOCK} ./
RUN awk '/^[a-zA-Z0-9]/ { wanted = /^(setuptools|hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } wanted' \
        ${LOCK} > build.lock \
    && pip install --require-hashes --no-deps --only-binary :all: -r build.lock \
    && pip install --require-hashes --no-deps --no-build-isolation -r ${LOCK}

COPY pyproject.toml README.md LICENSE ./
COPY encoders encoders
COPY index index
COPY ingest ingest
COPY recommend recommend
COPY service service
RUN pip install --no-deps --no-build-isolation .


FROM ${BASE}
# Ray's autoscaler copies files into containers with rsync, and reaches new machines with ssh.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openssh-client rsync \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 --shell /bin/bash firstlook \
    && install -d -o firstlook -g firstlook /data /home/firstlook/secrets

# Ray runs its commands in login shells, whose PATH /etc/profile sets anew.
RUN echo 'export PATH=/opt/firstlook/bin:$PATH' > /etc/profile.d/firstlook.sh
ENV PATH=/opt/firstlook/bin:$PATH

# Owned by root and not writable for the user who decodes strangers' files.
COPY --from=build /opt/firstlook /opt/firstlook

USER firstlook
# HOME is looked up in the image by Ray. A token is always wanted; which one it is comes in when the container starts.
ENV HOME=/home/firstlook \
    FIRSTLOOK_HOME=/data \
    RAY_AUTH_MODE=token \
    RAY_AUTH_TOKEN_PATH=/home/firstlook/secrets/auth_token \
    RAY_USAGE_STATS_ENABLED=0
WORKDIR /home/firstlook

# The weights of `local` are packages of the lock. Networks are converted for OpenVINO here, so that a machine that
# joins need not: 10 s and 1 GB of memory each.
RUN python -m ingest.spaces

CMD ["firstlook", "--help"]
