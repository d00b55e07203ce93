# memcrsd's image: one static binary, a `memcached` link to it, nothing else. Takes the arguments of memcached's official
# image: `docker run IMAGE`, `docker run IMAGE -m 64`, `docker run IMAGE memcached -m 64`; there is no shell in it, and
# the binary itself passes over the leading word.
#
# Docker's default seccomp profile forbids io_uring: run with --security-opt seccomp=src/ship/seccomp.json
# (or seccomp=unconfined), and --ulimit memlock=-1 for registered buffers.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /memcrsd
COPY . .
RUN bash src/ship/rootfs.sh make /rootfs

FROM scratch
COPY --from=build /rootfs /
ENV PATH=/usr/local/bin
# The number, so that Kubernetes sees that it is not root; /etc/passwd calls it memcache.
USER 11211:11211
EXPOSE 11211
# There is no shell and no nc in the image: the binary asks itself. Another port needs another --health-cmd.
HEALTHCHECK --interval=10s --timeout=3s CMD ["/usr/local/bin/memcached", "--health", "127.0.0.1:11211"]
ENTRYPOINT ["/usr/local/bin/memcached"]
