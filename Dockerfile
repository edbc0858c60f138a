# One image for all: ingest-gateway, transformer, sink and the operator's tool customerio-aep.
FROM rust:1.95-bookworm AS build
# The image's own toolchain; rust-toolchain.toml would fetch one with the lint tools.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bin ingest-gateway --bin transformer --bin sink --bin customerio-aep

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/ingest-gateway /build/target/release/transformer \
    /build/target/release/sink /build/target/release/customerio-aep /usr/local/bin/
# 8080 webhooks; 9464, 9465, 9466 the admin servers of gateway, transformer and sink
EXPOSE 8080 9464 9465 9466
CMD ["customerio-aep", "--help"]
