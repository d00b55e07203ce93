//! `--metrics-port`: the statistics as a page for Prometheus, by HTTP on a thread of its own.
//!
//! The thread owns its listener and connections. It only reads the counters of the rings and of the store, and delays no
//! ring. The number of connections is bounded, and each has one request and a few seconds, so that slow or numerous clients
//! cost little; connections over the bound wait in the backlog.

mod page;
mod rows;

use crate::config::without_brackets;
use crate::engine::{Report, Shared};
use crate::limits::{
    METRICS_CONNECTION_TIMEOUT, METRICS_CONNECTIONS_MAX, METRICS_REQUEST_BYTES_MAX, METRICS_REQUEST_TIMEOUT,
};
use crate::logging;
use crate::store::Store;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use uring::{Backend, Background, BackgroundListener};

/// Pause in accepting when descriptors have run out.
const REST: Duration = Duration::from_millis(100);

const METRICS: &str = "/metrics";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Binds a TCP listener to `host`, a name or an address, and `port`; returns it with its address.
pub(super) fn bind(host: &str, port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((without_brackets(host), port))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Starts a thread that serves the metrics of `store` and `shared` until the process ends, on the engine of the rings if one
/// more ring can be built, else on epoll.
///
/// # Errors
/// The thread cannot be created.
pub(super) fn serve(
    listener: TcpListener,
    engine: Backend,
    store: Arc<Store>,
    shared: Arc<Shared>,
) -> io::Result<()> {
    let body = move || {
        let accept = |listener| accept(listener, store, shared);
        if let Err(error) = Background::build(engine).and_then(|background| background.run(listener, accept))
        {
            tracing::warn!("can't serve metrics: {}", logging::reason(&error));
        }
    };
    std::thread::Builder::new().name("metrics".to_owned()).spawn(body)?;
    Ok(())
}

async fn accept(listener: BackgroundListener, store: Arc<Store>, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(METRICS_CONNECTIONS_MAX));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "metrics: accept");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let (store, shared) = (Arc::clone(&store), Arc::clone(&shared));
        tokio::task::spawn_local(async move {
            let answer = service_fn(|request| {
                let response = answer(&request, &store, &shared);
                async { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .keep_alive(false)
                .max_buf_size(METRICS_REQUEST_BYTES_MAX)
                .timer(TokioTimer::new())
                .header_read_timeout(METRICS_REQUEST_TIMEOUT)
                .serve_connection(TokioIo::new(stream), answer);
            // Errors of a connection are of no interest.
            let _ = tokio::time::timeout(METRICS_CONNECTION_TIMEOUT, connection).await;
            drop(place);
        });
    }
}

/// The response to a request: the metrics page, a text that says where the page is, or an error.
fn answer(request: &Request<Incoming>, store: &Store, shared: &Shared) -> Response<Full<Bytes>> {
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, METRICS) => {
            let report = Report::new(store, shared, shared.clock.now());
            (StatusCode::OK, PROMETHEUS, page::page(&report, shared))
        }
        (&Method::GET | &Method::HEAD, "/") => {
            (StatusCode::OK, PLAIN, format!("memcrsd: metrics for Prometheus are at {METRICS}\n"))
        }
        (&Method::GET | &Method::HEAD, _) => (StatusCode::NOT_FOUND, PLAIN, "not found\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "method not allowed\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
