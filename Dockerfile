# memcrsd's image: one static binary and a `memcached` link to it, nothing else. It takes the arguments of the official
# memcached image: `docker run IMAGE`, `docker run IMAGE -m 64`, `docker run IMAGE memcached -m 64`. There is no shell;
# the binary itself skips the leading word.
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
# A number, so that Kubernetes can see that it is not root; /etc/passwd names it memcache.
USER 11211:11211
EXPOSE 11211
# The image has no shell and no nc, so the binary checks itself. Another port needs another --health-cmd.
HEALTHCHECK --interval=10s --timeout=3s CMD ["/usr/local/bin/memcached", "--health", "127.0.0.1:11211"]
ENTRYPOINT ["/usr/local/bin/memcached"]
