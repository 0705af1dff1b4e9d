# The router, and the project's commands (python -m scripts.NAME).
FROM python:3.12.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /app
COPY requirements.txt ./
RUN pip install -r requirements.txt

# n8n's image runs as user 1000 too: what one writes into a shared volume the other can read, and
# nobody else. An empty volume takes over the owner and the mode of the folder that it is mounted on.
RUN useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin hybridflow \
    && install -d -o hybridflow -g hybridflow -m 0700 /import

COPY router router
COPY scripts scripts
COPY database database
COPY n8n_workflows n8n_workflows

USER hybridflow
EXPOSE 8000
CMD ["python", "-m", "router.serving", "--port", "8000"]
