# One image for all: ingest-gateway, transformer, sink and the operator's tool customerio-aep.

# The files that determine the dependencies: the manifests, and an empty file for each target. While they do not change,
# the layer with the compiled dependencies below comes from the cache.
FROM rust:1.95-bookworm AS manifests
WORKDIR /build
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock \
        ! -path '*/src/lib.rs' ! -path '*/src/main.rs' ! -path '*/benches/*.rs' -delete \
    && find . -type f -name lib.rs -exec truncate --size 0 {} + \
    && find . -type f \( -name main.rs -o -path '*/benches/*.rs' \) \
        -exec sh -c 'for file; do echo "fn main() { }" >"$file"; done' sh {} + \
    && find . -type d -empty -delete

FROM rust:1.95-bookworm AS build
# The image's own toolchain; rust-toolchain.toml would fetch one with the lint tools. The binaries are stripped of symbols and
# carry the list of their crates (cargo auditable), which scanners for vulnerabilities read.
ENV RUSTUP_TOOLCHAIN=1.95.0 CARGO_PROFILE_RELEASE_STRIP=symbols
RUN cargo install --locked cargo-auditable@0.7.7
WORKDIR /build
COPY --from=manifests /build .
RUN cargo auditable build --release --locked --bin ingest-gateway --bin transformer --bin sink --bin customerio-aep
COPY . .
ARG REVISION=unknown
ENV BUILD_COMMIT=$REVISION
# Cargo compares modification times, and the sources are older than the empty files that were compiled above.
RUN find . -name '*.rs' -exec touch {} + \
    && cargo auditable build --release --locked --bin ingest-gateway --bin transformer --bin sink --bin customerio-aep \
    && mkdir --parents /var/lib/console

FROM gcr.io/distroless/cc-debian12:nonroot
ARG REVISION=unknown
LABEL org.opencontainers.image.title="customerio-aep" \
    org.opencontainers.image.description="Customer.io source for Adobe Experience Platform" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"
COPY --from=build /build/target/release/ingest-gateway /build/target/release/transformer \
    /build/target/release/sink /build/target/release/customerio-aep /usr/local/bin/
# The console's users file. A volume that is mounted here gets this owner.
COPY --from=build --chown=65532:65532 /var/lib/console /var/lib/console
# 8080 is for webhooks, 8088 for the console; 9464, 9465 and 9466 are the admin servers of gateway, transformer and sink
EXPOSE 8080 8088 9464 9465 9466
CMD ["customerio-aep", "--help"]
