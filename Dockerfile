# The service and what it runs on; no compiler, no training package, no tests.
#   docker build -t timbre .                                       CPU
#   docker build -t timbre:gpu --build-arg TIMBRE_EXTRAS=gpu .     with the CUDA and cuDNN libraries
FROM python:3.11-slim-bookworm AS build
ARG TIMBRE_EXTRAS=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /srv/timbre
COPY requirements.lock requirements-gpu.lock ./
# A CPU image takes onnxruntime of the same version without its CUDA provider, which it would never load.
RUN case "$TIMBRE_EXTRAS" in \
      gpu) cp requirements-gpu.lock pins.txt ;; \
      "")  sed '/^onnxruntime==/d; s/^onnxruntime-gpu==\([^ ]*\).*/onnxruntime==\1/' requirements.lock > pins.txt ;; \
      *)   echo "TIMBRE_EXTRAS may be empty or gpu, not '$TIMBRE_EXTRAS'" >&2; exit 1 ;; \
    esac \
 && python3 -m venv .venv \
 && .venv/bin/python -m pip install --quiet -r pins.txt \
 && rm pins.txt
# .dockerignore lets through what the service needs and nothing else.
COPY . .
# In place: the migrations and the model are found beside the package.
RUN .venv/bin/python -m pip install --quiet --no-deps --editable . \
 && .venv/bin/python -m pip uninstall --quiet --yes pip setuptools \
 && .venv/bin/python -m compileall -q app alembic \
 # What the image is made of; the tool stays behind in this stage.
 && python3 -m venv /tmp/tools && /tmp/tools/bin/python -m pip install --quiet cyclonedx-bom==7.5.0 \
 && /tmp/tools/bin/cyclonedx-py environment .venv/bin/python --output-format JSON --output-file sbom.json \
 && chmod -R a+rX .

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Timbre" \
      org.opencontainers.image.description="Enrolls voices and tells whose voice a recording is" \
      org.opencontainers.image.licenses="Apache-2.0"
# libseccomp confines the decoders. The ledger of erasures has a folder, and so a volume, of its own.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libseccomp2 >/dev/null \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --create-home --home-dir /var/lib/timbre timbre \
 && install --directory --owner=timbre --group=timbre --mode=700 /var/lib/timbre-ledger
ENV PATH=/srv/timbre/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    TIMBRE_HOST=0.0.0.0 \
    TIMBRE_PORT=8000 \
    TIMBRE_DATABASE_URL=sqlite:////var/lib/timbre/timbre.db \
    TIMBRE_MASTER_KEY_FILE=/var/lib/timbre/master.key \
    TIMBRE_JOBS_DIR=/var/lib/timbre/jobs \
    TIMBRE_ERASURE_LEDGER=/var/lib/timbre-ledger/timbre.erasures
VOLUME /var/lib/timbre /var/lib/timbre-ledger
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['TIMBRE_PORT'] + '/readyz', timeout=4)"]
ENTRYPOINT ["timbre"]
CMD ["serve"]
WORKDIR /srv/timbre
COPY --from=build /srv/timbre /srv/timbre
USER timbre
