# The service without torch, on CPUs:   docker build -t siglip2 .
# With torch and its CUDA libraries:    docker build -t siglip2:cuda --build-arg EXTRAS=serve,openid,search,postgresql,redis,telemetry,torch .
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG EXTRAS=serve,openid,search,postgresql,redis,telemetry
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
RUN python -m venv /opt/siglip2
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY src ./src
RUN /opt/siglip2/bin/pip install ".[${EXTRAS}]"

FROM python:${PYTHON}-slim
ENV PATH=/opt/siglip2/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/data/huggingface XDG_CACHE_HOME=/data/cache SIGLIP2_DATABASE=sqlite:////data/accounts.sqlite
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin siglip2 \
    && install --directory --owner siglip2 --mode 0700 /data
COPY --from=build /opt/siglip2 /opt/siglip2
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
# Ready once the model is warm; a load balancer should ask the same.
HEALTHCHECK --interval=10s --timeout=12s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=10)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["siglip2"]
CMD ["serve", "--host", "0.0.0.0"]
