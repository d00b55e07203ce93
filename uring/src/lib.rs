//! Completion I/O on io_uring; knows nothing of memcached.
