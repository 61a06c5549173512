# syntax=docker/dockerfile:1
# Two stages: the second has no compiler and no pip cache, and its user cannot write to the program.
FROM python:3.13-slim AS install
COPY requirements.lock /tmp/requirements.lock
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /tmp/requirements.lock \
 && echo /opt/bulksend > "$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/bulksend.pth" \
 && printf '%s\n' '#!/opt/venv/bin/python' 'from ops.cli.main import main' 'main()' > /opt/venv/bin/bulksend \
 && chmod 0755 /opt/venv/bin/bulksend

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin bulksend \
 && install -d -o bulksend -m 0700 /var/lib/bulksend
COPY --from=install /opt/venv /opt/venv
COPY bulksend /opt/bulksend/bulksend
COPY producer /opt/bulksend/producer
COPY worker /opt/bulksend/worker
COPY notifier /opt/bulksend/notifier
COPY simulator /opt/bulksend/simulator
COPY ops /opt/bulksend/ops
COPY migrations /opt/bulksend/migrations
COPY examples /opt/bulksend/examples
RUN /opt/venv/bin/python -m compileall -q /opt/bulksend
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BULKSEND_SPOOL_DIR=/var/lib/bulksend/spool \
    BULKSEND_UPLOAD_DIR=/var/lib/bulksend/uploads \
    BULKSEND_EXPORT_DIR=/var/lib/bulksend/exports
USER bulksend
WORKDIR /var/lib/bulksend
VOLUME /var/lib/bulksend
CMD ["bulksend", "--help"]
